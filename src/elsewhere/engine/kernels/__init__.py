"""The compiled kernels: C sources, how they are compiled (`build`), and how Python finds and calls them (`loader`)."""
