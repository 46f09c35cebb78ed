import type { CallOptions, ClientUnaryCall, Metadata, ServiceError } from "@grpc/grpc-js";
import { Metadata as Headers } from "@grpc/grpc-js";
import type { Duration } from "./gen/google/protobuf/duration.js";

type Callback<Answer> = (error: ServiceError | null, answer: Answer) => void;
type Method<Request, Answer> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: Callback<Answer>,
) => ClientUnaryCall;

/** Calls a method of a client, bound to it, as a promise; `signal` cancels it. */
export function unary<Request, Answer>(
  method: Method<Request, Answer>,
  request: Request,
  options: Partial<CallOptions>,
  signal?: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const cancel = () => call.cancel();
    const call = method(request, new Headers(), options, (error, answer) => {
      signal?.removeEventListener("abort", cancel);
      if (error) reject(error);
      else resolve(answer);
    });
    signal?.addEventListener("abort", cancel, { once: true });
    if (signal?.aborted) call.cancel();
  });
}

/** Milliseconds of a duration; 0 where there is none. */
export function milliseconds(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : 0;
}

/** The deadline so many milliseconds from now, as grpc-js takes it. */
export function within(milliseconds: number): Date {
  return new Date(Date.now() + milliseconds);
}

/** Resolves after so many milliseconds, or at once when `signal` is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done, { once: true });
  });
}
