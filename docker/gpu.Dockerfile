# GPU jobs: NVIDIA's PyTorch, which brings torch, CUDA, NCCL and Transformer Engine built for each other, with megatron-core and the
# factory. Never built nor run here: it is linted only. Build it from the root of the checkout:
#   docker build --file docker/gpu.Dockerfile --tag seedmill-gpu:0.1.0 .
# 25.11 is the base that megatron-core 0.16 was tested on by its authors.
ARG PYTORCH=25.11-py3
FROM nvcr.io/nvidia/pytorch:${PYTORCH}
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /srv/seedmill
COPY docker/requirements.txt docker/requirements.txt
# The base's own pins (PIP_CONSTRAINT) are for its torch and CUDA packages, none of which is in this list.
RUN PIP_CONSTRAINT="" pip install --no-deps --require-hashes --requirement docker/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY factory factory
COPY resources resources
COPY assets assets
COPY recipes recipes
COPY docker docker
RUN PIP_CONSTRAINT="" pip install --no-deps --no-build-isolation --editable . \
    && python -c "import megatron.core" \
    && python -c "from importlib.metadata import version; print(version('transformer-engine'))" \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin seedmill \
    && install --directory --owner seedmill --group seedmill /var/lib/seedmill
ENV PYTHONUNBUFFERED=1 SEEDMILL_HOME=/var/lib/seedmill
USER 10001
VOLUME /var/lib/seedmill
# A job container lives as long as its job; it is healthy while its GPUs answer.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s CMD ["nvidia-smi", "--list-gpus"]
ENTRYPOINT ["python", "-m", "factory.job"]
