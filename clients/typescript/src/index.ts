/** Guards servers on `@grpc/grpc-js` with the token authority, and holds leases of pooled tokens. */
export { bearer } from "./credentials.js";
export { Gate, FencedError } from "./gate.js";
export { Guard, type GuardOptions } from "./guard.js";
export { Lease, LeaseLostError } from "./lease.js";
export { codeOf, DOMAIN, REASON_UNAVAILABLE } from "./refusal.js";
export { channelOptions, serviceConfig } from "./service_config.js";
export { TokenServiceClient } from "./gen/tokenauthority/v1/token_service.js";
export { Verdict, type ValidateResponse } from "./gen/tokenauthority/v1/validation.js";
export type { AcquireRequest } from "./gen/tokenauthority/v1/leases.js";
export type { Token } from "./gen/tokenauthority/v1/token.js";
