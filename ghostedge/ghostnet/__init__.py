"""GhostNetV2: its variants, its Cell, its checkpoints and how other weights become one."""
