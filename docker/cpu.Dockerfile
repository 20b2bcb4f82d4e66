# Web server, daemon, code location and CPU jobs: one image, four commands. Build it from the root of the checkout:
#   docker build --file docker/cpu.Dockerfile --tag seedmill:0.1.0 .
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Options of pip that choose torch's build, such as an index of CPU-only wheels.
ARG TORCH_OPTIONS=""
WORKDIR /srv/seedmill
# shellcheck disable=SC2086 # several options
RUN python -m venv /opt/seedmill \
    && /opt/seedmill/bin/pip install torch==2.13.0 ${TORCH_OPTIONS}
COPY docker/requirements.txt docker/requirements.txt
RUN /opt/seedmill/bin/pip install --no-deps --require-hashes --requirement docker/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY factory factory
COPY resources resources
COPY assets assets
COPY recipes recipes
COPY docker docker
RUN /opt/seedmill/bin/pip install setuptools==84.2.1 \
    && /opt/seedmill/bin/pip install --no-deps --no-build-isolation --editable .

FROM python:${PYTHON}
# Debian drops superseded versions from its archive, so a pinned one breaks the next build; the base image fixes the release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin seedmill \
    && install --directory --owner seedmill --group seedmill /var/lib/seedmill
COPY --from=build /opt/seedmill /opt/seedmill
COPY --from=build /srv/seedmill /srv/seedmill
ENV PATH=/opt/seedmill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SEEDMILL_HOME=/var/lib/seedmill \
    DAGSTER_HOME=/srv/seedmill/docker \
    DAGSTER_LOGS=/var/lib/seedmill/dagster
WORKDIR /srv/seedmill
USER 10001
VOLUME /var/lib/seedmill
# Jobs are children of the code location: something must reap them and pass on SIGTERM.
ENTRYPOINT ["tini", "--"]
EXPOSE 4000
HEALTHCHECK --interval=20s --timeout=10s --start-period=60s CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
CMD ["python", "docker/serve_code.py", "--host", "0.0.0.0", "--port", "4000", "--module-name", "assets.definitions", "--attribute", "laptop"]
