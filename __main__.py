"""The entry point of the component package (``PulumiPlugin.yaml``)."""

from infra.package.host import serve

if __name__ == "__main__":
    serve()
