"""What lies on disk: one class per layout, each with `read(root)` for a data set and `find(folder, channels)` for images to predict."""
