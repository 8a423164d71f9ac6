"""Reading of files that others made: within limits, running nothing of theirs, with one line for what is wrong.

`open_file` and `read_bytes` open regular files only. `reading` turns whatever a reader raises into one line for the
user. `RefusedError` is what a reader raises for a file that asks for too much, or for something else than was expected;
`shown` shortens what its message shows of the file. `typed` turns plain values into objects of declared types.

Each format has a module, of which some are only imported from where they are needed. `json_value` and `read_json` read
JSON, `yaml_file` YAML; `open_archive` opens ZIP archives and `open_arrays` `.npz` files; `pickle_reader` reads pickles,
`pickles` those of NumPy, `torch_file` those of PyTorch; `keras_file` reads models. `check_weights` says what weights
must be.
"""

import lazy_loader

# The public names are listed in __init__.pyi; each is imported on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
