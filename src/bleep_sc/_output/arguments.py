"""What arguments of public functions may be, by their annotations and their names; what is wrong is said in one way."""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from bleep_sc._output.messages import a, columns_with, did_you_mean

LONGEST = 120
"""Letters of a value in a message."""
ARRAY, NUMBERS = "an array of numbers", re.compile(r"(?:ndarray|NDArray).*numpy\.(floating|number|integer)")
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "None"),
    "Pad": (lambda value: isinstance(value, str) and value in ("reflect", "constant"), "'reflect' or 'constant'"),
    ARRAY: (lambda value: _is_array(value), ARRAY),
    "str": (lambda value: isinstance(value, str) and bool(value.strip()), "a text that is not empty"),
    "bool": (lambda value: isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"), "True or False"),
    "int": (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    "float": (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    "Path": (lambda value: isinstance(value, os.PathLike), "a path"),
    "AnnData": (lambda value: _is_called(value, "AnnData"), "an AnnData"),
    "SpatialData": (lambda value: _is_called(value, "SpatialData"), "a SpatialData"),
    "DataFrame": (lambda value: _is_called(value, "DataFrame"), "a DataFrame"),
    "Module": (lambda value: _is_called(value, "Module"), "a torch module"),
    "Slide": (lambda value: _is_called(value, "Slide"), "a slide of bleep_sc.slides.open_slide"),
    "FitConfig": (lambda value: _is_called(value, "FitConfig"), "a bleep_sc.tl.FitConfig"),
    "StNetConfig": (lambda value: _is_called(value, "StNetConfig"), "a bleep_sc.tl.StNetConfig"),
    "HisToGeneConfig": (lambda value: _is_called(value, "HisToGeneConfig"), "a bleep_sc.tl.HisToGeneConfig"),
    "Hist2STConfig": (lambda value: _is_called(value, "Hist2STConfig"), "a bleep_sc.tl.Hist2STConfig"),
    "HE2RNAConfig": (lambda value: _is_called(value, "HE2RNAConfig"), "a bleep_sc.tl.HE2RNAConfig"),
    "Hist2RNAConfig": (lambda value: _is_called(value, "Hist2RNAConfig"), "a bleep_sc.tl.Hist2RNAConfig"),
    "Mapping": (lambda value: isinstance(value, Mapping), "a dict"),
    "Sequence[str]": (lambda value: _is_list_of(value, str), "a list of names"),
    "list[str]": (lambda value: _is_list_of(value, str), "a list of names"),
    "Sequence[str | None]": (lambda value: _is_list_of(value, (str, type(None))), "a list of names"),
    "Sequence[float]": (lambda value: _is_list_of(value, Real), "a list of numbers"),
    "Sequence[Any]": (lambda value: _is_list_of(value), "a list or a pair"),
    "Sequence[AnnData]": (lambda value: _is_list_of(value) and all(map(KINDS["AnnData"][0], value)), "a list of them"),
}
"""What a part of an annotation admits, and how it is called. Of what is not here, nothing is asked."""
READ = " Read it first: bleep_sc.tl.load_reference(folder) a shared reference, anndata.read_h5ad(file) a file."
"""What mends a path where an AnnData is asked for."""
COUNTS = {
    *("size", "side", "batch_size", "n_neighbors", "n_seeds", "n_slices", "n_patches", "n_genes"),
    *("n_top", "n_modules", "n_resamples", "max_spots", "min_genes", "n_permutations"),
    *("ncols", "sub_tiles"),
}
FROM_ZERO = {
    *("n_top_genes", "random_state", "num_workers", "n_draws", "min_sharpness", "min_counts", "min_cells", "min_spots"),
}
POSITIVE = {
    *("size_um", "mpp", "pitch_um", "radius_um", "spot_um", "bin_um", "resolution", "target_sum", "perplexity"),
    *("spacing", "width", "height", "spot_size", "side_px", "tolerance"),
}
SHARES = {"min_tissue"}
BETWEEN = {"share"}
PICTURES = {"image", "source"}
DEVICES = re.compile(r"(auto|cpu|cuda|hip|mps|mtia|xpu|hpu|meta)(:\d+)?")
OF_COLUMNS = {"group_key", "library_key", "donor_key", "batch_key", "sample_key", "region_key"}
"""Arguments that name one column of obs."""
LARGEST = 2**32 - 1
"""Of a whole number: seeds of NumPy end here, and nothing that is counted has more."""

F = TypeVar("F", bound=Callable[..., Any])


def checked(function: F) -> F:
    """Return a function that looks at its arguments before it begins."""

    @functools.cache
    def asked() -> tuple[inspect.Signature, dict[str, list[str]]]:  # when it is first called, not at the import
        signature = inspect.signature(function)
        aliases = inspect.unwrap(function).__globals__
        return signature, {name: _parts(each.annotation, aliases) for name, each in signature.parameters.items()}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        signature, names = asked()
        _refuse_unknown(function, signature, kwargs)
        given = signature.bind(*args, **kwargs).arguments
        for name, value in given.items():
            parameter = signature.parameters[name]
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                if name in OF_COLUMNS and not isinstance(value, str) and _is_list_of(value):
                    _refuse_values_of_a_column(name, value, given.get("adata"))
                check(name, value, names[name], parameter.default)
        try:
            return function(*args, **kwargs)
        except (ValueError, KeyError, FileNotFoundError) as error:
            _name_argument(error, given)
            raise

    return call  # type: ignore[return-value]


def check_calls_of(package: dict[str, Any]) -> None:
    """Let the public functions of a package, given by its ``globals()``, look at their arguments.

    What ``dir()`` and completion show of the package is then what is public.
    """
    public = {name: package[name] for name in package["__all__"] if inspect.isfunction(package[name])}
    package.update({name: checked(function) for name, function in public.items()})
    package["__dir__"] = lambda: sorted(package["__all__"])


def check(name: str, value: Any, kinds: Sequence[str], default: Any = inspect.Parameter.empty) -> None:
    """Refuse a value that is none of some kinds, or out of the range that its name has."""
    remedy = "" if default is inspect.Parameter.empty else f" Leave it out for {default!r}."
    known = [kind for kind in kinds if kind in KINDS or kind.startswith("'")]
    if known and len(known) == len(kinds):
        texts = [kind[1:-1] for kind in kinds if kind.startswith("'")]
        if not (isinstance(value, str) and value in texts) and not any(
            KINDS[kind][0](value) for kind in kinds if kind in KINDS
        ):
            if isinstance(value, str) and value and texts:
                raise ValueError(f"{name}={shown(value)} is not known; use {', '.join(map(repr, texts))}.{remedy}")
            wanted = " or ".join([KINDS[kind][1] for kind in kinds if kind in KINDS] + [repr(text) for text in texts])
            if "AnnData" in kinds and isinstance(value, str | os.PathLike):
                remedy = f"{READ}{remedy}"
            error = ValueError if isinstance(value, str) and (texts or "str" in kinds) else TypeError
            raise error(f"{name}={shown(value)} must be {wanted}, and is {_called(value)}.{remedy}")
    if name in PICTURES and (
        isinstance(value, Real) or _is_list_of(value, str) or (value is None and default is not None)
    ):
        raise TypeError(f"{name}={shown(value)} must be a path, or an array.{remedy}")
    if name == "device" and isinstance(value, str) and not DEVICES.fullmatch(value):
        raise ValueError(f"device={value!r} must be one that torch knows, such as 'cpu' or 'cuda:0'.{remedy}")
    if name == "resolutions" and not (_is_list_of(value, Real) and len(value) and all(0 < x < math.inf for x in value)):
        raise ValueError(f"resolutions={shown(value)} must be positive numbers, one or several.{remedy}")
    if KINDS["float"][0](value):
        _check_number(name, value, remedy, is_count=name in COUNTS and "float" not in kinds)


def _refuse_unknown(function: Callable[..., Any], signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    """Refuse arguments of other names than those that a function has, and say which it has."""
    known = [name for name, each in signature.parameters.items() if each.kind is not each.VAR_KEYWORD]
    unknown = [name for name in given if name not in known]
    if unknown and len(known) == len(signature.parameters):
        called = f"{function.__module__.split('.')[1]}.{function.__name__}"
        raise TypeError(
            f"{called} does not take {', '.join(f'{name}={shown(given[name])}' for name in unknown)}."
            f"{did_you_mean(unknown, known)} It takes: {', '.join(known)}."
        )


def _refuse_values_of_a_column(name: str, values: Any, adata: Any) -> None:
    """Say of donors or slides themselves, where the name of their column is asked for, which column that is."""
    obs = getattr(adata, "obs", {})
    columns = columns_with(obs, values) or [str(each) for each in values if isinstance(each, str) and each in obs][:1]
    remedy = f"Pass {name}={columns[0]!r}." if columns else f"obs has: {', '.join(map(str, obs))}."
    raise TypeError(f"{name}={shown(values)} must be the name of one column of obs, and is a list. {remedy}")


def _name_argument(error: ValueError | KeyError | FileNotFoundError, given: Mapping[str, Any]) -> None:
    """Say at the end of a message that has the value of an argument, and not its name, what was given."""
    message = error.args[0] if len(error.args) == 1 else None
    if not isinstance(message, str):
        return
    places: dict[str, int] = {}
    for name, value in given.items():
        texts = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
        found = [_place(text, message) for text in texts if isinstance(text, str)]
        places |= {name: min(found)} if found and min(found) < 2 * len(message) else {}
    if places:
        name = min(places, key=lambda name: places[name])
        if not re.search(rf"\b{name}\b", message):
            error.args = (f"{message} Given was {name}={shown(given[name])}.",)


def _place(text: str, message: str) -> int:
    """Return where a text stands in a message, in quotes, or later as part of a longer name; or beyond both."""
    quoted, within = message.find(repr(text)), message.find(text) if len(text) > 3 else -1
    if within > 0 and message[within - 1] in "/\\":  # the name of a file, which is another argument
        within = -1
    return quoted if quoted >= 0 else len(message) + within if within >= 0 else 2 * len(message)


def _check_number(name: str, value: Any, remedy: str, *, is_count: bool) -> None:
    least = 1 if is_count else 0
    wanted = None
    if math.isnan(value):
        wanted = "be a number, and not NaN"
    elif (is_count or name in FROM_ZERO) and not least <= value <= LARGEST:
        wanted = f"be at least {least}, and at most {LARGEST}"
    elif name in POSITIVE | COUNTS and not (0 < value < math.inf):
        wanted = "be positive and finite"
    elif name in SHARES and not 0 <= value <= 1:
        raise ValueError(f"{name}={shown(value)} is a share: it must lie between 0 and 1.{remedy}")
    elif name in BETWEEN and not 0 < value < 1:
        wanted = "lie between 0 and 1"
    if wanted is not None:
        unit = " px" if is_count and name in ("size", "side") else ""
        raise ValueError(f"{name}={shown(value)}{unit} must {wanted}.{remedy}")


def shown(value: Any) -> str:
    """Return a value as it stands in a message; long ones are cut."""
    text = " ".join(repr(value).split()) if hasattr(value, "dtype") else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _called(value: Any) -> str:
    """Return what a value is, as a message says it."""
    return "empty" if isinstance(value, str) and not value else a(type(value).__name__)


def _parts(annotation: Any, names: Mapping[str, Any]) -> list[str]:
    """Return the alternatives of an annotation, texts of a Literal in quotes; ``names`` are those of its module."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for each in get_args(annotation) for part in _parts(each, names)]
    if get_origin(annotation) is Literal:
        return [repr(text) for text in get_args(annotation)]
    if not isinstance(annotation, str):
        text = getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation)
        is_array = NUMBERS.search(text) or text in ("spmatrix", "sparray")
        return [ARRAY if is_array else {"NoneType": "None"}.get(text, text)]
    parts = re.findall(r"(?:[^|\[]|\[(?:[^\[\]]|\[[^\]]*\])*\])+", annotation)
    return [kind for part in parts for kind in _of_text(part.strip(), names)]


def _of_text(part: str, names: Mapping[str, Any]) -> list[str]:
    if part.startswith("Literal["):
        return [repr(text) for text in re.findall(r"'([^']*)'", part)]
    if get_origin(names.get(part)) is Literal:
        return _parts(names[part], names)
    return [_base(part)]


def _base(part: str) -> str:
    if part in KINDS:
        return part
    name = part.removeprefix("ad.").removeprefix("pd.").removeprefix("nn.")
    if (
        name.startswith("NDArray[np.") and name not in ("NDArray[np.object_]", "NDArray[np.str_]")
    ) or name == "ArrayLike":
        return ARRAY
    return "Mapping" if name.startswith("Mapping[") else name


def _is_called(value: Any, name: str) -> bool:
    return any(each.__name__ == name for each in type(value).__mro__)


def _is_array(value: Any) -> bool:
    """Tell what can be calculated with, one number excepted; labels of slides may be texts."""
    if hasattr(value, "tocsr") or hasattr(value, "dask"):
        return True
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
        return False
    array = value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)  # as it is, on disk
    return len(array.shape) > 0 and array.dtype.kind in "biuf"


def _is_list_of(value: Any, kind: Any = object) -> bool:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        return False
    return all(isinstance(each, kind) for each in value)
