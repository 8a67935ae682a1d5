# cytoline in a container; its command is the whole pipeline, `dvc repro`.
#   CPU:  docker build -t cytoline .                            docker run --rm cytoline
#   GPU:  docker build --build-arg PROFILE=gpu -t cytoline .    docker run --rm --gpus all cytoline
FROM docker.io/library/python:3.11-slim-bookworm

# cpu or gpu: which entry of `profiles` in params.yaml this image runs by default.
ARG PROFILE=cpu

# No Debian package is needed: the lock's OpenCV is the headless build (docs/decisions/001-opencv-headless.md).
RUN useradd --create-home --uid 1000 cytoline && install -d -o cytoline -g cytoline /app
USER 1000:1000
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 GIT_PYTHON_REFRESH=quiet \
    CYTOLINE_KEY_FILE=/run/secrets/pseudonym.key

# Packages first: this layer changes only when the lock does. dvc.yaml calls `.venv/bin/python`.
# The registry's torch for x86-64 carries CUDA and does not load without CUDA's libraries (measured), so the CPU image has
# them too and leaves out only Triton (0.9 GB). For one without any: --build-arg TORCH=cpu-wheels, and pip's own variable
# PIP_EXTRA_INDEX_URL as a build argument that names the place of PyTorch's CPU wheels.
ARG TORCH=registry
ARG PIP_EXTRA_INDEX_URL
COPY --chown=1000:1000 requirements.lock ./
RUN case "${PROFILE}-${TORCH}" in \
        *-cpu-wheels) unneeded='sys_platform == "linux"' ;; \
        cpu-*) unneeded='^triton==' ;; \
        *) unneeded='^$' ;; \
    esac \
    && sed "/${unneeded}/d" requirements.lock > /tmp/requirements.txt \
    && python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --no-deps --use-pep517 --requirement /tmp/requirements.txt \
    && rm /tmp/requirements.txt

COPY --chown=1000:1000 . .
# There is no git history in an image, so DVC is told not to look for one.  No `metrics` is made here: `evaluate` puts a
# new folder in its place, and a folder that comes with an image cannot be renamed (overlayfs).
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && sed -i "s/^profile: cpu/profile: ${PROFILE}/" params.yaml \
    && .venv/bin/dvc config --local core.no_scm true \
    && mkdir -p .dvc/cache .cytoline models reports

CMD ["dvc", "repro"]
