"""GhostNetV2 as a MindSpore Cell, and the weights that go into it."""
