# One image for every service and job: `python -m services.ingress`, ..., `porteiro COMMAND`.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements/ requirements/
# What runs, by the lock and its hashes, into an environment without pip.
RUN python -m venv --without-pip /opt/porteiro \
    && pip --python /opt/porteiro install --no-cache-dir --no-compile --require-hashes --no-deps \
        -r requirements/run.txt
# What builds our own package, from the lock too, stays in this stage.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/dev.txt > build.txt \
    && pip install --no-cache-dir --require-hashes --no-deps -r build.txt
COPY pyproject.toml README.md ./
COPY services/ services/
COPY shared/ shared/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/porteiro install --no-cache-dir --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
# pg_dump and pg_restore, for backups: of the server's version or newer. Debian mends them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/porteiro /opt/porteiro
ENV PATH=/opt/porteiro/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001:10001
CMD ["porteiro", "--help"]
