"""The files of ghostedge's demo; `ghostedge.demo` finds and describes them."""
