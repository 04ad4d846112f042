"""`plusx benchmark`: how fast this machine is, beside plain PyTorch."""
