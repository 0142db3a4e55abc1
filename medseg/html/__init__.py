"""Pages that need nothing else: skeleton, tables, charts."""
