"""Keys: training images and windows of them, as the engine reads them."""

from elsewhere.engine.keys.base import Keys, Sources, StoredKeys
from elsewhere.engine.keys.images import ImageKeys
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.places import Extent, Places
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.keys.windows import WindowKeys

__all__ = ["Extent", "ImageKeys", "Keys", "Metric", "PixelStore", "Places", "Sources", "StoredKeys", "WindowKeys"]
