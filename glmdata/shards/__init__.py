"""Shards: Arrow IPC files of finished samples, and the manifest that names every byte of them."""
