import type { ChannelOptions, ServiceConfig } from "@grpc/grpc-js";

const SERVICE = "tokenauthority.v1.TokenService";

/** Methods that change nothing, or the same thing again; Acquire since `Lease.hold` names each request. */
const REPEATABLE = [
  "Validate",
  "BatchValidate",
  "Get",
  "List",
  "ListNamespaces",
  "ListPools",
  "Acquire",
  "KeepAlive",
  "Release",
  "Revoke",
  "ResetLimits",
  "Usage",
  "Overview",
  "WhoAmI",
];

/**
 * Repeats calls that found the authority UNAVAILABLE, as gRFC A6 has it. A repeated Validate may count
 * twice where only its answer was lost. Create, BatchCreate and Rotate are absent, since they may be
 * repeated under a `requestId` only.
 */
export const serviceConfig: ServiceConfig = {
  loadBalancingConfig: [],
  methodConfig: [
    {
      name: REPEATABLE.map((method) => ({ service: SERVICE, method })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.05s",
        maxBackoff: "0.5s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
  retryThrottling: { maxTokens: 100, tokenRatio: 0.1 },
};

/** Options for a client of the authority that make it use {@link serviceConfig}. */
export const channelOptions: ChannelOptions = {
  "grpc.service_config": JSON.stringify(serviceConfig),
};
