from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_Image = tuple[npt.NDArray[np.float32] | str, npt.NDArray[np.bool_] | None, str]
_Samples = tuple[npt.NDArray[np.float32], str]
_Response = str | npt.NDArray[np.float64]

__version__: str

def fuse(
    images: tuple[_Image, _Image],
    responses: tuple[_Response, _Response],
    settings: str,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[
    _Samples, npt.NDArray[np.float32] | None, npt.NDArray[np.float64], npt.NDArray[np.float64], str
]: ...
def estimate(
    images: tuple[_Image, _Image], responses: tuple[_Response, _Response], settings: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str]: ...
def align(images: tuple[_Image, _Image], settings: str) -> tuple[_Samples, str]: ...
def train(
    pairs: list[tuple[_Image, _Image]],
    responses: tuple[_Response, _Response],
    settings: str,
    out: str,
    progress: Callable[[str, int, int], None] | None,
) -> str: ...
def finetune(
    models: tuple[str, str],
    images: tuple[_Image, _Image],
    psf: _Response | None,
    settings: tuple[str, int | None],
    progress: Callable[[str, int, int], None] | None,
) -> str: ...
def infer(model: str, msi: _Image, backend: str, adapter: str | None) -> _Samples: ...
def simulate(
    reference: _Image,
    responses: tuple[_Response, _Response],
    scale: int,
    noise: tuple[float | None, float | None, int],
) -> list[_Samples]: ...
def evaluate(images: tuple[_Image, _Image], scale: int | None, convention: str) -> str: ...
def read(path: str) -> _Samples: ...
def write(image: _Image, path: str) -> None: ...
def devices() -> str: ...
