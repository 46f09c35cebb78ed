package tokenauthority

// ServiceConfig repeats calls that found the authority UNAVAILABLE, as gRFC A6 has it, for
// [google.golang.org/grpc.WithDefaultServiceConfig].
//
// It names the methods that may be repeated as they are: those that change nothing, or the same
// thing again. A repeated Validate may count twice where only its answer was lost. Acquire stands
// there since [Hold] names each request; Create, BatchCreate and Rotate do not, since they may be
// repeated under a request_id only.
const ServiceConfig = `{
  "methodConfig": [{
    "name": [
      {"service": "tokenauthority.v1.TokenService", "method": "Validate"},
      {"service": "tokenauthority.v1.TokenService", "method": "BatchValidate"},
      {"service": "tokenauthority.v1.TokenService", "method": "Get"},
      {"service": "tokenauthority.v1.TokenService", "method": "List"},
      {"service": "tokenauthority.v1.TokenService", "method": "ListNamespaces"},
      {"service": "tokenauthority.v1.TokenService", "method": "ListPools"},
      {"service": "tokenauthority.v1.TokenService", "method": "Acquire"},
      {"service": "tokenauthority.v1.TokenService", "method": "KeepAlive"},
      {"service": "tokenauthority.v1.TokenService", "method": "Release"},
      {"service": "tokenauthority.v1.TokenService", "method": "Revoke"},
      {"service": "tokenauthority.v1.TokenService", "method": "ResetLimits"},
      {"service": "tokenauthority.v1.TokenService", "method": "Usage"},
      {"service": "tokenauthority.v1.TokenService", "method": "Overview"},
      {"service": "tokenauthority.v1.TokenService", "method": "WhoAmI"}
    ],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.05s",
      "maxBackoff": "0.5s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`
