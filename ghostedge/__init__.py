"""ghostedge takes a MindSpore GhostNetV2 checkpoint to the edge and proves that it arrived."""

__version__ = "0.2.0.dev0"
