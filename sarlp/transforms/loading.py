"""Image loading with an error that names the file."""

from mmcv.transforms import LoadImageFromFile

from sarlp.errors import UserError
from sarlp.registry import TRANSFORMS


class BadImageError(UserError):
    """An image file does not decode."""


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's loader (BGR uint8; EXIF rotation applied, greyscale, CMYK and 16 bit converted), failing by name."""

    def transform(self, results: dict) -> dict:
        try:
            return super().transform(results)
        except Exception as error:  # whatever the file system or the decoder raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise BadImageError(
                f'{results["img_path"]}: the image cannot be read ({reason[0]}); replace the file, or '
                "set on_bad_image='skip' in the training data set"
            ) from error
