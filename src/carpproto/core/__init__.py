"""The pure core: see carpproto, which re-exports its public names."""
