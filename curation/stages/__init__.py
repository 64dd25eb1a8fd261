"""The stages of a build, each from shard to shard, in plain Python."""
