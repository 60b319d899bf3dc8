"""From a checkpoint to verified artifacts: recipes, the plan, the build, the search over settings."""
