"""The page of a pipeline's clips: data files beside a page, written anew only where something changed."""
