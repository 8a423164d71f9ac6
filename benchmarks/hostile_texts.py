"""Changes and bombs of texts: JSON, YAML, configurations of Keras models, lines."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from typing import Any

import yaml
from hostile_child import TRAP

Bombs = Iterator[tuple[str, Callable[[], bytes]]]
DEEP, DEEP_OBJECT = "@deep@", "@deep object@"
_LEVELS = 100_000
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 1 << 31, 1 << 63, 10**23, 10**400, -(10**30), 0.5, -1.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "0", "nan", "None", "x" * 100_000, "\0", "\ud800", "a\nb"),
    *(
        "../../outside",
        "/etc/passwd",
        "\x1b[31mred",
        "ü" * 300,
        "\u202e",
        "%s%n",
        "{0}",
        "${HOME}",
        "a" * 5000 + "/b",
        f"{TRAP}.Trap",
    ),
    *([], [[]], {}, [None], {"": None}, {"a": {"b": [1]}}, [1] * 100_000, [[0] * 10] * 1000, list("abc"), DEEP),
    DEEP_OBJECT,
)
_ELSEWHERE = (
    "..",
    ".",
    "",
    "/",
    "../other.txt",
    "of_the_user.txt",
    "../../outside",
    "a/../../..",
    "\0",
    "~",
    "run.json",
    "*",
)


def dumped(value: Any) -> bytes:
    """Returns JSON, with deep nesting where a value says so."""
    text = json.dumps(value)
    text = text.replace(f'"{DEEP}"', "[" * _LEVELS + "]" * _LEVELS)
    return text.replace(f'"{DEEP_OBJECT}"', '{"a":' * _LEVELS + "1" + "}" * _LEVELS).encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all parts of a JSON value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Returns a copy of a JSON value with another part at a path."""
    if not path:
        return new
    value = copy.deepcopy(value)
    _part(value, path[:-1])[path[-1]] = new
    return value


def _part(value: Any, path: tuple[Any, ...]) -> Any:
    """Returns the part of a JSON value at a path."""
    return reduce(getitem, path, value)


def changed_value(value: Any, rng: random.Random) -> tuple[str, Any]:
    """Returns a copy of a JSON value with a part replaced, removed, renamed or repeated."""
    places = list(_places(value))
    path = rng.choice(places)
    shown = "/".join(map(str, path))[:80]
    if path and rng.random() < 0.3:
        value = copy.deepcopy(value)
        inner = _part(value, path[:-1])
        match rng.randrange(3), inner:
            case 0, _:
                del inner[path[-1]]
                return f"{shown} removed", value
            case 1, dict():
                inner[rng.choice(("", "x", f"{path[-1]} ", "__class__", "format"))] = inner.pop(path[-1])
                return f"{shown} renamed", value
            case 1, _:
                inner[path[-1] : path[-1]] = [inner[path[-1]]] * rng.choice((1, 1000))
                return f"{shown} repeated", value
            case _:
                other = rng.choice(places)
                try:
                    part = _part(value, other)
                except (KeyError, IndexError, TypeError):
                    part = None
                inner[path[-1]] = copy.deepcopy(part)
                return f"{shown} as {'/'.join(map(str, other))[:80]}", value
    new = rng.choice(_ODD)
    return f"{shown} = {repr(new)[:40]}", replaced(value, path, new)


def changed_json(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns JSON with a part changed."""
    change, value = changed_value(json.loads(content), rng)
    return change, dumped(value)


def json_bombs(content: bytes) -> Bombs:
    """Yields bombs of JSON."""
    value = json.loads(content)
    yield "lists 100,000 deep", lambda: b"[" * _LEVELS + b"]" * _LEVELS
    yield "lists 900 deep", lambda: b"[" * 900 + b"]" * 900
    yield "open lists", lambda: b"[" * 10_000_000
    yield "objects 100,000 deep", lambda: b'{"a":' * _LEVELS + b"1" + b"}" * _LEVELS
    yield "many numbers", lambda: b"[" + b"1," * 5_000_000 + b"1]"
    yield "many lists", lambda: b"[" + b"[]," * 5_000_000 + b"1]"
    yield "a number of many digits", lambda: b"1" * 1_000_000
    yield "another text", lambda: b"hello"
    yield "a text", lambda: b'"hello"'
    yield "null", lambda: b"null"
    yield "NaN", lambda: b"NaN"
    yield "no UTF-8", lambda: b'{"a": "\xff\xfe"}'
    yield "UTF-16", lambda: content.decode().encode("utf-16")
    yield "with a byte order mark", lambda: b"\xef\xbb\xbf" + content
    yield "with NUL", lambda: content + b"\0"
    yield "twice", lambda: content + content
    yield "with spaces", lambda: content + b" " * 70_000_000
    if isinstance(value, dict):
        yield "keys twice", lambda: dumped(value)[:-1] + b"," + dumped(value)[1:]
        yield "many keys", lambda: dumped(value | {f"k{number}": None for number in range(200_000)})
        for key in value:
            for new in (None, -1, 10**23, 10**400, float("nan"), "x", "x" * 100_000, [], {}, DEEP, DEEP_OBJECT):
                yield f"{key} = {repr(new)[:30]}", lambda key=key, new=new: dumped(value | {key: new})
        for key in (key for key, part in value.items() if isinstance(part, list)):
            for name in _ELSEWHERE:
                yield f"{key} with {name[:20]!r}", lambda key=key, name=name: dumped(value | {key: [*value[key], name]})
                yield f"{key} of {name[:20]!r}", lambda key=key, name=name: dumped(value | {key: [name]})
    if isinstance(value, dict) and "class_name" in value:
        for change, config in keras_bombs(value):
            yield change, lambda config=config: dumped(config)


def keras_bombs(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields bombs in the configuration of a Keras model."""
    numbers = [path for path in _places(config) if path and isinstance(_at(config, path), int)]
    sizes = [path for path in numbers if not isinstance(_at(config, path), bool)]
    for path in sizes:
        for size in (10**9, 10**5, -1, 0):
            yield f"{'/'.join(map(str, path[-4:]))} = {size}", replaced(config, path, size)
    layers = config.get("config", {}).get("layers", ())
    for number, layer in enumerate(layers):
        if number not in (1, len(layers) - 1):
            continue
        for change, part in _keras_layers(layer):
            yield f"layer {number}: {change}", replaced(config, ("config", "layers", number), part)
    if layers:
        many = [{**layers[1], "name": f"l{n}", "config": {**layers[1]["config"], "name": f"l{n}"}} for n in range(5000)]
        yield "5,000 layers", replaced(config, ("config", "layers"), [*layers, *many])
        yield "no layers", replaced(config, ("config", "layers"), [])
        yield "layers twice", replaced(config, ("config", "layers"), [*layers, *layers])
    nested = config
    for _ in range(60):
        nested = {**config, "config": {**config["config"], "layers": [nested], "input_layers": [], "output_layers": []}}
    yield "models 60 deep", nested
    for module, name in (("os", "system"), ("subprocess", "Popen"), (TRAP, "Trap"), ("builtins", "eval")):
        yield f"a {module}.{name}", {**config, "module": module, "class_name": name, "registered_name": name}
    yield "a list for a class", {**config, "class_name": ["x"]}
    yield "no configuration", {**config, "config": None}


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _keras_layers(layer: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields hostile layers that replace one."""

    def made(name: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
        known = {"name": layer["config"].get("name", "x"), "trainable": True, "dtype": "float32"}
        return {**layer, "module": module, "class_name": name, "registered_name": None, "config": known | config}

    code = "4wEAAAAAAAAAAAAAAAIAAADzAAAAAA==\n"
    yield "Lambda of code", made("Lambda", function={"class_name": "__lambda__", "config": {"code": code}})
    yield "Lambda of a name", made("Lambda", function={"class_name": "function", "config": "system", "module": "os"})
    yield "TFSMLayer", made("TFSMLayer", filepath="/etc", call_endpoint="serve")
    yield "StringLookup of a file", made("StringLookup", vocabulary="/etc/passwd")
    yield "Embedding", made("Embedding", input_dim=10**6, output_dim=10**6)
    yield "Dense", made("Dense", units=10**12)
    yield (
        "Dense with a large start",
        made("Dense", units=2, kernel_initializer={"class_name": "x" * 10_000, "config": {}}),
    )
    yield "Conv2D", made("Conv2D", filters=10**6, kernel_size=[10**4, 10**4])
    yield "UpSampling2D", made("UpSampling2D", size=[10**6, 10**6])
    yield "ZeroPadding2D", made("ZeroPadding2D", padding=[10**6, 10**6])
    yield "RepeatVector", made("RepeatVector", n=10**12)
    yield "MultiHeadAttention", made("MultiHeadAttention", num_heads=10**6, key_dim=10**6)
    yield "a module to import", made("Trap", TRAP)
    yield "a function to call", made("run", "subprocess")
    yield "numbers of a constant", made("Dense", units={"class_name": "__tensor__", "config": {"value": [0] * 9}})
    yield "an own layer", {**layer, "module": None, "class_name": "Own", "registered_name": "mine>Own"}
    yield "deep", {**layer, "config": {"a": DEEP}}


def changed_yaml(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns YAML with a part changed."""
    change, value = changed_value(yaml.safe_load(content), rng)
    text = yaml.safe_dump(value, allow_unicode=rng.random() < 0.5)
    return change, text.replace(DEEP_OBJECT, "{a: " * 5000 + "1" + "}" * 5000).replace(
        DEEP, "[" * 5000 + "]" * 5000
    ).encode("utf-8", "surrogatepass")


_YAML_VALUES = (
    *(
        "!!int abc",
        "!!float x",
        "!!bool maybe",
        "!!timestamp x",
        "!!binary '@'",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!null x",
    ),
    *(
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/tuple [1]",
        "!own x",
        "! x",
        "!<x> y",
    ),
    *(
        "&a [*a]",
        "&a {a: *a}",
        "*nothing",
        "&a",
        "{[a]: 1}",
        "{{a: 1}: 2}",
        "? [a]",
        "[a",
        "{a",
        "]",
        "'",
        '"',
        "|",
        ">",
        "%",
    ),
    *(
        '"\\U00110000"',
        '"\\ud800"',
        '"\\x00"',
        "1:2:3",
        "0o17",
        "0x10",
        "1_000",
        ".nan",
        "-.inf",
        "1e400",
        "2001-01-01",
    ),
    *(
        "2001-99-99",
        "=",
        "<<",
        "~",
        "\t",
        "- - - x",
        "x: y: z",
        "@",
        "`",
        "1" * 5000,
        "1e" + "9" * 5000,
        "x" * 1_000_000,
    ),
    *("[" * 5000 + "]" * 5000, "[" * 200_000, "{a: " * 3000 + "1" + "}" * 3000, "- " * 5000 + "x", "? " * 5000 + "x"),
    *(
        "[" + "x, " * 1_000_000 + "]",
        "!!str " * 5000 + "x",
        "&a " * 5000 + "x",
        '"' + "\\" * 100_001,
        "'" + "''" * 100_000,
    ),
)


def _laugh(levels: int, part: str, join: Callable[[str], str]) -> str:
    """Returns lists, or mappings, of references to the one before."""
    return "[&a0 " + part + ", " + ", ".join(f"&a{n} {join(f'*a{n - 1}')}" for n in range(1, levels)) + "]"


def yaml_bombs(content: bytes) -> Bombs:
    """Yields bombs of YAML: as a value of each key, and as the whole text."""
    keys = [line.partition(":")[0] for line in content.decode().splitlines() if line[:1].isalpha()]
    values = [
        *_YAML_VALUES,
        _laugh(30, "[x, x]", lambda name: f"[{name}, {name}, {name}, {name}]"),
        _laugh(30, "{a: 1}", lambda name: "{" + ", ".join(f"k{n}: {name}" for n in range(4)) + "}"),
        _laugh(30, "{a: 1}", lambda name: f"{{<<: [{name}, {name}, {name}, {name}]}}"),
        _laugh(3000, "x", lambda name: f"[{name}]"),
    ]
    for number, value in enumerate(values):
        yield (
            f"value {value[:30]}",
            lambda number=number, value=value: (
                content
                + f"\n{keys[number % len(keys)] if number % 2 else 'seed'}2: {value}\n".replace("2:", ":", 1).encode()
            ),
        )
        yield f"text {value[:30]}", lambda value=value: value.encode()
        yield f"key {value[:30]}", lambda value=value: f"{value}: 1\n".encode()
        for key in keys[:3]:
            yield f"{key}: {value[:30]}", lambda key=key, value=value: f"{key}: {value}\n".encode()
    yield "many keys", lambda: b"".join(b"k%d: 1\n" % number for number in range(200_000))
    yield "keys twice", lambda: content + content
    yield "two documents", lambda: content + b"---\n" + content
    yield "many documents", lambda: b"---\n" * 1_000_000
    yield "many directives", lambda: b"%TAG ! x\n" * 100_000 + content
    yield "no UTF-8", lambda: content + b"\xff\xfe"
    yield "UTF-16", lambda: content.decode().encode("utf-16")
    yield "control characters", lambda: content + b"a: \x01\x1b\n"
    yield "spaces", lambda: content + b" " * 70_000_000
    yield "lines", lambda: content + b"\n" * 5_000_000
    yield "comments", lambda: b"# x\n" * 2_000_000 + content


def line_bombs(content: bytes) -> Bombs:
    """Yields bombs of a text of lines with tabs."""
    first = content.splitlines()[0].split(b"\t")
    for word in (
        b"",
        b"..",
        b"../../../etc/passwd",
        b"/etc/passwd",
        b"/dev/zero",
        b"x" * 100_000,
        b"\0",
        b"\xff",
        b"\x1b[31m",
    ):
        for place in range(min(2, len(first))):
            words = [*first]
            words[place] = word
            yield f"column {place} = {word[:20]!r}", lambda words=words: b"\t".join(words) + b"\n"
    yield "many lines", lambda: content * 50_000
    yield "many tabs", lambda: b"\t" * 5_000_000
    yield "one long line", lambda: content.replace(b"\n", b" ") * 50_000


def changed_numbers(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns bytes with a 32-bit number at a multiple of four changed: sizes, offsets and counts of binary formats."""
    data = bytearray(content)
    if len(data) < 8:
        return "reversed", bytes(data[::-1])
    place = 4 * rng.randrange(len(data) // 4)
    old = int.from_bytes(data[place : place + 4], "little")
    new = rng.choice(
        (0, 1, old + 1, old - 1, -old, old * 2, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 10**6, old ^ 0xFF, 4, 16)
    )
    data[place : place + 4] = (new & 0xFFFFFFFF).to_bytes(4, "little")
    return f"number at {place}: {old} -> {new}", bytes(data)
