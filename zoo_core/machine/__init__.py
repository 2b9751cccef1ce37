"""The machine and its processes: files, standard streams, memory, libraries, ranks."""
