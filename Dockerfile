# kitbox with all its dependencies, to reproduce a submission from its receipt on any machine.
#
#   docker build -t kitbox .
#   docker build -t kitbox --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#
# The first command is for CPUs, the second for GPUs with CUDA 13.0 ('docker run --gpus all ...').
# For a release, pin the base image by its digest too: FROM python:...@sha256:...
FROM python:3.11.14-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_VERSION=2.14.1
ARG TORCHVISION_VERSION=0.29.1

# XDG_CACHE_HOME keeps weights from a hub in the workspace, so the next container has them too.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    XDG_CACHE_HOME=/workspace/.kitbox/cache

# The largest layers, which change least, come first: torch, other dependencies, then kitbox.
RUN pip install --index-url "${TORCH_INDEX}" \
        "torch==${TORCH_VERSION}" "torchvision==${TORCHVISION_VERSION}"

WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['demo'], sep='\n')" \
        > requirements.txt \
    && pip install -r requirements.txt -c constraints.txt

COPY README.md LICENSE ./
COPY kitbox ./kitbox
COPY plugins ./plugins
RUN pip install --no-deps .

# Mount the workspace at /workspace and the competition's data read-only at /data. Use
# '-e KITBOX_DATA=/data' to read the data from there, not from the folder in kitbox.toml, and
# '--user "$(id -u):$(id -g)"' to own the files that are written.
RUN useradd --create-home --uid 1000 kitbox \
    && install --directory --owner=1000 --group=1000 /workspace
USER 1000:1000
WORKDIR /workspace
VOLUME ["/workspace"]

ENTRYPOINT ["kitbox"]
CMD ["--help"]
