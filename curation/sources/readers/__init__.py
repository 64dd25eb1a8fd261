"""Raw records out of files, URLs and the hub, one by one."""
