"""Print the devices that PyTorch can use as JSON: a list of (name, bytes of memory).

This runs in a process of its own, started by path with `-P`. `polytrace doctor` does its other work
meanwhile, and can report a PyTorch that cannot be loaded, even if loading it ends the process.
"""

import json
import sys


def main() -> None:
    """Load PyTorch and print its devices, or print to standard error why that fails."""
    try:
        import torch
    except (ImportError, OSError) as error:
        sys.exit(f"torch cannot be loaded ({' '.join(str(error).split())})")
    try:
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as error:
        sys.exit(f"torch cannot use the GPUs ({' '.join(str(error).split())})")
    print(json.dumps([(gpu.name, gpu.total_memory) for gpu in gpus]))


if __name__ == "__main__":
    main()
