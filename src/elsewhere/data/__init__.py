"""Images in: the embedded sets, folders, arrays, IDX files and Hugging Face datasets, as one uint8 store."""

from elsewhere.data.images import ImageSet, to_uint8, to_unit
from elsewhere.data.latents import LatentSet
from elsewhere.data.loading import EMBEDDED, load_images, load_picture

__all__ = ["EMBEDDED", "ImageSet", "LatentSet", "load_images", "load_picture", "to_uint8", "to_unit"]
