/** Starts the real authority and servers that it guards, each on a free port, and ends them with the test. */
import {
  credentials,
  InterceptingCall,
  Metadata,
  Server,
  ServerCredentials,
  type CallOptions,
  type Client,
  type Interceptor,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceError,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { Duration } from "../src/gen/google/protobuf/duration.js";
import { Status } from "../src/gen/google/rpc/status.js";
import { CreateRequest } from "../src/gen/tokenauthority/v1/tokens.js";
import { bearer, channelOptions, TokenServiceClient, type Guard } from "../src/index.js";

export const PATIENCE = 10_000;
const START_PATIENCE = 30_000;
const ROOT = resolve(import.meta.dirname, "../../../..");

export interface Authority {
  readonly client: TokenServiceClient;
  /** A new token: its id and its secret. */
  token(wanted: Partial<CreateRequest>): Promise<{ id: string; secret: string }>;
  /** A client that may judge and watch and nothing else, and how often it asked. */
  guardian(): Promise<{ client: TokenServiceClient; asked: () => number }>;
  revoke(tokenId: string): Promise<void>;
  stop(): Promise<void>;
}

/** Serves a fresh store with a configuration in TOML. */
export async function serve(test: TestContext, config = ""): Promise<Authority> {
  const home = await mkdtemp(join(tmpdir(), "token-authority-"));
  test.after(() => rm(home, { recursive: true, force: true }));
  const [file, rootFile] = [join(home, "config.toml"), join(home, "root-token")];
  await writeFile(file, config, { mode: 0o600 });
  const log = await open(join(home, "log"), "w");
  const store = `sqlite:${join(home, "store.db")}`;
  const child = spawn(
    binary(),
    ["serve", "--config", file, "--listen", "127.0.0.1:0", "--store", store, "--root-token-file", rootFile],
    { cwd: home, env: cleanEnvironment(home), stdio: ["ignore", "pipe", log.fd] },
  );
  const ended = once(child, "exit");
  // Without a farewell, as a machine that fails; what it stored is thrown away.
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  test.after(stop);
  await log.close();
  const address = await listening(child.stdout!);
  const root = (await readFile(rootFile, "utf8")).trim();
  const client = connect(test, address, root);
  const token = async (wanted: Partial<CreateRequest>) => {
    const created = await call(client.create.bind(client), CreateRequest.fromPartial(wanted));
    return { id: created.token?.tokenId ?? "", secret: created.secret };
  };
  return {
    client,
    token,
    stop,
    async guardian() {
      const { secret } = await token({ name: "guard", scopes: ["authority:validate", "authority:read"] });
      let asked = 0;
      const counting: Interceptor = (options, nextCall) => {
        if (options.method_definition.path.endsWith("/Validate")) asked += 1;
        return new InterceptingCall(nextCall(options));
      };
      return { client: connect(test, address, secret, [counting]), asked: () => asked };
    },
    async revoke(tokenId) {
      await call(client.revoke.bind(client), { tokenId, secret: undefined, reason: "" });
    },
  };
}

function binary(): string {
  return resolve(process.env["TOKEN_AUTHORITY_TEST_BINARY"] ?? join(ROOT, "target/debug/token-authority"));
}

function cleanEnvironment(home: string): NodeJS.ProcessEnv {
  const ours = (name: string) => name.startsWith("TOKEN_AUTHORITY_") || name === "XDG_CONFIG_HOME";
  const kept = Object.entries(process.env).filter(([name]) => !ours(name));
  return { ...Object.fromEntries(kept), HOME: home };
}

async function listening(stdout: NodeJS.ReadableStream): Promise<string> {
  const lines = createInterface({ input: stdout });
  const late = setTimeout(() => lines.close(), START_PATIENCE);
  try {
    for await (const line of lines) {
      if (line.startsWith("listening on ")) return line.slice("listening on ".length).trim();
    }
  } finally {
    clearTimeout(late);
    stdout.resume();
  }
  throw new Error("the server did not listen");
}

export function connect(
  test: TestContext,
  address: string,
  secret: string,
  interceptors: Interceptor[] = [],
): TokenServiceClient {
  const options = { ...channelOptions, interceptors: [bearer(secret), ...interceptors] };
  const client = new TokenServiceClient(address, credentials.createInsecure(), options);
  test.after(() => client.close());
  return client;
}

type Unary<Request, Answer> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, answer: Answer) => void,
) => unknown;

export function call<Request, Answer>(method: Unary<Request, Answer>, request: Request): Promise<Answer> {
  return new Promise((resolve, reject) => {
    method(request, new Metadata(), { deadline: Date.now() + PATIENCE }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

const raw = { serialize: (bytes: Buffer) => bytes, deserialize: (bytes: Buffer) => bytes };
const bytes = {
  requestSerialize: raw.serialize,
  requestDeserialize: raw.deserialize,
  responseSerialize: raw.serialize,
  responseDeserialize: raw.deserialize,
};
/** A service as somebody's own would be: it says who called it. */
const shop = {
  get: { path: "/shop.Orders/Get", requestStream: false, responseStream: false, ...bytes },
  list: { path: "/shop.Orders/List", requestStream: false, responseStream: true, ...bytes },
} as const;

export const GET = shop.get.path;

export interface Shop {
  /** Calls as somebody with these headers; answers the token's id that the handler saw. */
  get(headers: Record<string, string>): Promise<string>;
  list(headers: Record<string, string>): Promise<string>;
}

export async function guarded(test: TestContext, guard: Guard): Promise<Shop> {
  const server = new Server({ interceptors: [guard.interceptor] });
  server.addService(shop, {
    get: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) =>
      answer(null, Buffer.from(guard.answerOf(call)?.token?.tokenId ?? "nobody")),
    list: (call: { metadata: Metadata; write(bytes: Buffer): void; end(): void }) => {
      call.write(Buffer.from(guard.answerOf(call)?.token?.tokenId ?? "nobody"));
      call.end();
    },
  } as unknown as UntypedServiceImplementation);
  const client = await serving(test, server);
  const deadline = () => new Date(Date.now() + PATIENCE);
  return {
    get: (headers) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          GET, raw.serialize, raw.deserialize, Buffer.alloc(0), metadataOf(headers), { deadline: deadline() },
          (error, answer) => (error ? reject(error) : resolve(String(answer))),
        );
      }),
    list: async (headers) => {
      const stream = client.makeServerStreamRequest(
        shop.list.path, raw.serialize, raw.deserialize, Buffer.alloc(0), metadataOf(headers), { deadline: deadline() },
      );
      let all = "";
      for await (const part of stream) all += String(part);
      return all;
    },
  };
}

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  return metadata;
}

/** Lets a server listen, and answers a client of it. */
export async function serving(test: TestContext, server: Server): Promise<Client> {
  const { Client } = await import("@grpc/grpc-js");
  const client = new Client(await listen(test, server), credentials.createInsecure());
  test.after(() => client.close());
  return client;
}

export async function listen(test: TestContext, server: Server): Promise<string> {
  test.after(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  return `127.0.0.1:${port}`;
}

/** What a refusal says: its reason and domain, and in how many seconds to try again. */
export function told(error: ServiceError): { reason: string; domain: string; retryAfter?: number } {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const said: { reason: string; domain: string; retryAfter?: number } = { reason: "", domain: "" };
  for (const detail of Status.decode(bytes as Buffer).details) {
    const reader = new BinaryReader(detail.value);
    if (detail.typeUrl.endsWith("ErrorInfo")) {
      reader.tag();
      said.reason = reader.string();
      reader.tag();
      said.domain = reader.string();
    } else if (detail.typeUrl.endsWith("RetryInfo")) {
      reader.tag();
      const delay = Duration.decode(reader, reader.uint32());
      said.retryAfter = Number(delay.seconds) + delay.nanos / 1e9;
    }
  }
  return said;
}

/** Waits for a condition. */
export async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
