{{/* Whether variables in these values may say who the Kafka user is; extraEnvFrom cannot be looked into. */}}
{{- define "latentwatch.namesUser" -}}
{{- if .extraEnvFrom }}yes{{ end -}}
{{- range .extraEnv }}{{ if eq .name "LATENTWATCH__KAFKA__SASL_USERNAME" }}yes{{ end }}{{ end -}}
{{- end -}}

{{/* Rules over several values, which the schema cannot say. Every problem is told at once. */}}
{{- define "latentwatch.validate" -}}
{{- $values := .Values -}}
{{- $standalone := eq $values.mode "standalone" -}}
{{- $problems := list -}}
{{- if not $values.image.repository -}}
  {{- $problems = append $problems "image.repository is required: the image that deploy/Dockerfile builds, such as registry.example/latentwatch" -}}
{{- end -}}
{{- if include "latentwatch.usesKafka" . -}}
  {{- $servers := include "latentwatch.configKey" (list . "kafka" "bootstrap_servers" "") -}}
  {{- if not $servers -}}
    {{- $problems = append $problems "config.kafka.bootstrap_servers is required: host:port of the brokers, separated by commas" -}}
  {{- else if regexMatch "(^|,)[^,]*[^0-9,]\\s*(,|$)" $servers -}}
    {{- $problems = append $problems (printf "config.kafka.bootstrap_servers: %s: every broker needs a port, such as kafka:9093" $servers) -}}
  {{- end -}}
{{- end -}}
{{- if ne $values.mode "job" -}}
  {{- if eq (include "latentwatch.configKey" (list . "health" "enabled" true)) "false" -}}
    {{- $problems = append $problems "config.health.enabled must not be false: the probes ask that port" -}}
  {{- end -}}
  {{- if eq (include "latentwatch.healthPort" .) "0" -}}
    {{- $problems = append $problems "config.health.port must not be 0: probes and monitors need to know the port" -}}
  {{- end -}}
{{- end -}}
{{- range $key := list "sasl_password" "ssl_password" "oauth_client_secret" -}}
  {{- if include "latentwatch.configKey" (list $ "kafka" $key "") -}}
    {{- $problems = append $problems (printf "config.kafka.%s: a ConfigMap must not hold secrets; name an existing Secret in kafka.passwordSecret, kafka.oauthClientSecret or extraEnv" $key) -}}
  {{- end -}}
{{- end -}}
{{- $mechanism := include "latentwatch.configKey" (list . "kafka" "sasl_mechanism" "") -}}
{{- $protocol := include "latentwatch.configKey" (list . "kafka" "security_protocol" "PLAINTEXT") -}}
{{- if and $values.kafka.passwordSecret.name (not (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512"))) -}}
  {{- $problems = append $problems "kafka.passwordSecret needs config.kafka.sasl_mechanism PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512" -}}
{{- end -}}
{{- with $values.kafka.passwordSecret -}}
{{- if and .usernameKey (not .name) -}}
  {{- $problems = append $problems "kafka.passwordSecret.usernameKey needs kafka.passwordSecret.name" -}}
{{- end -}}
{{- end -}}
{{- $user := include "latentwatch.configKey" (list . "kafka" "sasl_username" "") -}}
{{- if and $user $values.kafka.passwordSecret.usernameKey -}}
  {{- $problems = append $problems "config.kafka.sasl_username and kafka.passwordSecret.usernameKey: set one of them" -}}
{{- end -}}
{{- if and (include "latentwatch.usesKafka" .) (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512")) (not $user) (not $values.kafka.passwordSecret.usernameKey) -}}
  {{- $needs := printf "config.kafka.sasl_mechanism %s needs a user: set config.kafka.sasl_username, or kafka.passwordSecret.usernameKey if a Secret has it" $mechanism -}}
  {{- if not (include "latentwatch.namesUser" $values) -}}
    {{- $problems = append $problems $needs -}}
  {{- else if and $standalone (eq $values.autoscaling.type "keda") (not $values.autoscaling.keda.triggerAuthentication) -}}
    {{- $problems = append $problems (printf "%s; KEDA does not see extraEnv" $needs) -}}
  {{- else if and $values.review.enabled (not (include "latentwatch.namesUser" $values.review)) -}}
    {{- $problems = append $problems (printf "%s; the review page does not get extraEnv, only review.extraEnv" $needs) -}}
  {{- end -}}
{{- end -}}
{{- if and $values.kafka.oauthClientSecret.name (ne $mechanism "OAUTHBEARER") -}}
  {{- $problems = append $problems "kafka.oauthClientSecret needs config.kafka.sasl_mechanism OAUTHBEARER" -}}
{{- end -}}
{{- if and (or $values.kafka.caSecret.name $values.kafka.caConfigMap.name $values.kafka.clientCertificateSecret.name) (not (has $protocol (list "SSL" "SASL_SSL"))) -}}
  {{- $problems = append $problems (printf "kafka.caSecret, caConfigMap and clientCertificateSecret need config.kafka.security_protocol SSL or SASL_SSL; it is %s" $protocol) -}}
{{- end -}}
{{- if and $values.kafka.caSecret.name $values.kafka.caConfigMap.name -}}
  {{- $problems = append $problems "kafka.caSecret and kafka.caConfigMap: set one of them" -}}
{{- end -}}
{{- range $key, $value := dict "sasl_password_file" $values.kafka.passwordSecret.name "oauth_client_secret_file" $values.kafka.oauthClientSecret.name "ssl_cafile" (or $values.kafka.caSecret.name $values.kafka.caConfigMap.name) "ssl_certfile" $values.kafka.clientCertificateSecret.name -}}
  {{- if and $value (include "latentwatch.configKey" (list $ "kafka" $key "")) -}}
    {{- $problems = append $problems (printf "config.kafka.%s: remove it; the chart mounts %s and sets the path" $key $value) -}}
  {{- end -}}
{{- end -}}
{{- if and $values.otel.headersSecret.name (not (include "latentwatch.otelEnabled" .)) -}}
  {{- $problems = append $problems "otel.headersSecret needs config.sinks.otel.enabled: true" -}}
{{- end -}}
{{- if $standalone -}}
  {{- $partitions := int $values.kafka.partitions -}}
  {{- $scaling := $values.autoscaling -}}
  {{- if eq $scaling.type "none" -}}
    {{- if gt (int $values.replicas) $partitions -}}
      {{- $problems = append $problems (printf "replicas is %d, but kafka.partitions is %d: further replicas would idle. Lower replicas, or give the topic more partitions and set kafka.partitions" (int $values.replicas) $partitions) -}}
    {{- end -}}
  {{- else -}}
    {{- if gt (int $scaling.maxReplicas) $partitions -}}
      {{- $problems = append $problems (printf "autoscaling.maxReplicas is %d, but kafka.partitions is %d: further replicas would idle. Lower maxReplicas, or give the topic more partitions and set kafka.partitions" (int $scaling.maxReplicas) $partitions) -}}
    {{- end -}}
    {{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
      {{- $problems = append $problems (printf "autoscaling.minReplicas is %d, more than autoscaling.maxReplicas %d" (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
    {{- end -}}
    {{- if and (eq $scaling.type "hpa") (eq (int $scaling.minReplicas) 0) -}}
      {{- $problems = append $problems "autoscaling.minReplicas: 0 needs autoscaling.type keda; a HorizontalPodAutoscaler keeps at least 1" -}}
    {{- end -}}
    {{- if and (eq $scaling.type "keda") (not $scaling.keda.triggerAuthentication) (has $mechanism (list "OAUTHBEARER" "AWS_MSK_IAM" "GSSAPI")) -}}
      {{- $problems = append $problems (printf "autoscaling.keda.triggerAuthentication is required with config.kafka.sasl_mechanism %s: name a TriggerAuthentication" $mechanism) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- if and $standalone (eq (include "latentwatch.configKey" (list . "source" "kind" "kafka")) "http") -}}
  {{- $problems = append $problems "config.source.kind: http takes events from the same pod only: it needs mode sidecar" -}}
{{- end -}}
{{- if eq $values.mode "sidecar" -}}
  {{- if and $values.sidecar.native (semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version) -}}
    {{- $problems = append $problems (printf "sidecar.native needs Kubernetes >= 1.29, this is %s: set sidecar.native to false" .Capabilities.KubeVersion.Version) -}}
  {{- end -}}
  {{- if and (eq $values.sidecar.events "podTopic") (eq (include "latentwatch.configKey" (list . "source" "kind" "kafka")) "http") -}}
    {{- $problems = append $problems "sidecar.events: podTopic needs config.source.kind: kafka" -}}
  {{- end -}}
  {{- if $values.monitoring.serviceMonitor.enabled -}}
    {{- $problems = append $problems "monitoring.serviceMonitor needs a Service of latentwatch's own pods; in mode sidecar, use monitoring.podMonitor" -}}
  {{- end -}}
{{- end -}}
{{- if and (eq $values.mode "job") (not $values.job.volume) -}}
  {{- $problems = append $problems "job.volume is required: the volume with the events, such as persistentVolumeClaim: {claimName: events}" -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
  {{- $problems = append $problems "monitoring.podMonitor and monitoring.serviceMonitor would scrape twice: enable one of them" -}}
{{- end -}}
{{- if and $values.review.enabled (ne $values.mode "job") -}}
  {{- $review := $values.review -}}
  {{- $http := eq (include "latentwatch.configKey" (list . "source" "kind" "kafka")) "http" -}}
  {{- if eq (include "latentwatch.configKey" (list . "sinks" "kafka" "enabled" (not $http))) "false" -}}
    {{- $problems = append $problems "review.enabled needs config.sinks.kafka.enabled: the page reads the alert topic" -}}
  {{- end -}}
  {{- if and (not $review.tokenSecret.name) (not $review.proxy.userHeader) -}}
    {{- $problems = append $problems "review.tokenSecret.name or review.proxy.userHeader is required: the page must know who a reviewer is" -}}
  {{- end -}}
  {{- if and $review.tokenSecret.name $review.proxy.userHeader -}}
    {{- $problems = append $problems "review.tokenSecret and review.proxy.userHeader: set one of them" -}}
  {{- end -}}
  {{- if and $review.proxy.userHeader (not $review.proxy.networks) -}}
    {{- $problems = append $problems "review.proxy.networks is required with review.proxy.userHeader: the addresses that the proxy asks from" -}}
  {{- end -}}
{{- end -}}
{{- $set := list "POD_NAME" "POD_NAMESPACE" "OTEL_RESOURCE_ATTRIBUTES" "LATENTWATCH__KAFKA__CLIENT_ID" -}}
{{- if $values.kafka.passwordSecret.usernameKey }}{{ $set = append $set "LATENTWATCH__KAFKA__SASL_USERNAME" }}{{ end -}}
{{- range $key, $variables := dict "extraEnv" $values.extraEnv "review.extraEnv" $values.review.extraEnv -}}
{{- range $variables -}}
  {{- if has .name $set -}}
    {{- $problems = append $problems (printf "%s: %s is set by the chart; use the key of config instead" $key .name) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
  {{- fail (printf "\n  - %s" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
