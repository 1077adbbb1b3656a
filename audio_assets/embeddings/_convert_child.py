"""Read a pickled state dict and write it as safetensors; a script, run in a process of its own.

Unpickling is the one place where a model file could act. So it happens under ``weights_only`` (tensors and
plain containers, nothing callable), in a process that holds nothing, may not take more memory than it is
given, and can open no socket, load no library and start no process.

What belongs here: what happens inside that process. What does not: verifying the file (``conversion``).
It imports nothing of this project, as it is started by its path.
"""

import sys

# Events of Python's audit log that reading tensors has no use for.
_REFUSED = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "ctypes.dlopen")


def refuse_escape(event: str, _arguments: object) -> None:
    """Audit hook: raise where code tries to leave the process."""
    if event.startswith(_REFUSED):
        raise RuntimeError(f"a model file tried {event}")


def confine(memory_bytes: int) -> None:
    """Bound this process's memory and cut it off; there is no way back."""
    try:
        import resource
    except ImportError:  # pragma: no cover - not on Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    sys.addaudithook(refuse_escape)


def main(source: str, target: str, memory_bytes: str) -> None:
    """Convert one file."""
    import torch
    from safetensors.torch import save_file

    confine(int(memory_bytes))
    state = torch.load(source, map_location="cpu", weights_only=True)
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("not a flat state dict of tensors")
    # Tied tensors share memory, which safetensors refuses to store twice.
    tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    save_file(tensors, target, metadata={"format": "pt"})


if __name__ == "__main__":
    main(*sys.argv[1:])
