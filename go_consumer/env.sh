# shellcheck shell=sh
# Tells Go where the TensorFlow C library is: in the tensorflow package of the active Python environment, else of .venv.
#
#   source go_consumer/env.sh
#
# What you set yourself stays: with CGO_LDFLAGS set, or a libtensorflow.so where the linker finds it (in /usr/local/lib, or
# in a folder of LIBRARY_PATH), this does nothing.

_find_tensorflow() {
    if [ -n "${CGO_LDFLAGS-}" ]; then
        return 0
    fi
    if echo 'int main(void) { return 0; }' | "${CC:-gcc}" -x c - -o /dev/null -ltensorflow 2>/dev/null; then
        return 0
    fi
    # Other shells than bash do not say where a file is that they source.
    # shellcheck disable=SC3028
    _root=$(cd "$(dirname "${BASH_SOURCE:-$PWD/go_consumer/env.sh}")/.." && pwd)
    _python=python
    if [ -z "${VIRTUAL_ENV-}${CONDA_PREFIX-}" ]; then
        _python=$_root/.venv/bin/python
    fi
    # Looking for a package does not import it.
    _look='import importlib.util; print(*importlib.util.find_spec("tensorflow").submodule_search_locations)'
    _tensorflow=$("$_python" -c "$_look" 2>/dev/null)
    if [ ! -f "$_tensorflow/libtensorflow_cc.so.2" ]; then
        echo "env.sh: no TensorFlow C library: $_python has no tensorflow package" \
            "(run make venv, or activate the environment that has it)" >&2
        return 1
    fi
    # The package calls its library otherwise than the Go binding does. This text, which a linker reads as a library, leads
    # it there.
    mkdir -p "$_root/.cache/tensorflow" || return 1
    echo "GROUP ( $_tensorflow/libtensorflow_cc.so.2 $_tensorflow/libtensorflow_framework.so.2 )" \
        >"$_root/.cache/tensorflow/libtensorflow.so" || return 1
    export CGO_CFLAGS="${CGO_CFLAGS:--O2 -g} -I$_tensorflow/include"
    export CGO_LDFLAGS="-L$_root/.cache/tensorflow -Wl,-rpath,$_tensorflow"
}

_find_tensorflow
