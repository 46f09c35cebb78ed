import { InterceptingCall, type Interceptor } from "@grpc/grpc-js";

/**
 * Sends `secret` with each call to the authority: `new TokenServiceClient(address, credentials,
 * { interceptors: [bearer(secret)] })`. Use it over TLS, or within this machine.
 */
export function bearer(secret: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, listener, next) {
        metadata.set("authorization", `Bearer ${secret}`);
        next(metadata, listener);
      },
    });
}
