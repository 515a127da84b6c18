{{/* A key of the config with its default: (list . "sinks" "otel" "enabled" false). */}}
{{- define "latentwatch.configKey" -}}
{{- $path := initial (rest .) -}}
{{- $here := (first .).Values.config -}}
{{- range $path -}}
  {{- $here = ternary (index (default dict $here) .) nil (hasKey (default dict $here) .) -}}
{{- end -}}
{{- ternary (last .) $here (kindIs "invalid" $here) -}}
{{- end -}}

{{- define "latentwatch.healthPort" -}}
{{- include "latentwatch.configKey" (list . "health" "port" 9464) -}}
{{- end -}}

{{- define "latentwatch.otelEnabled" -}}
{{- if eq (include "latentwatch.configKey" (list . "sinks" "otel" "enabled" false)) "true" -}}yes{{- end -}}
{{- end -}}

{{/* Whether anything is read from a broker or written to one. A scan needs none, and events over HTTP need one only for a sink. */}}
{{- define "latentwatch.usesKafka" -}}
{{- $http := eq (include "latentwatch.configKey" (list . "source" "kind" "kafka")) "http" -}}
{{- $sink := eq (include "latentwatch.configKey" (list . "sinks" "kafka" "enabled" (not $http))) "true" -}}
{{- if and (ne .Values.mode "job") (or (not $http) $sink) -}}yes{{- end -}}
{{- end -}}

{{/* config.yaml: the user's config, with the files that the chart mounts. */}}
{{- define "latentwatch.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $kafka := dict -}}
{{- with .Values.kafka -}}
  {{- if .passwordSecret.name }}{{ $_ := set $kafka "sasl_password_file" "/run/secrets/latentwatch/kafka-password" }}{{ end -}}
  {{- if .oauthClientSecret.name }}{{ $_ := set $kafka "oauth_client_secret_file" "/run/secrets/latentwatch/kafka-oauth-client-secret" }}{{ end -}}
  {{- if or .caSecret.name .caConfigMap.name }}{{ $_ := set $kafka "ssl_cafile" "/run/secrets/latentwatch/kafka-ca.crt" }}{{ end -}}
  {{- if .clientCertificateSecret.name -}}
    {{- $_ := set $kafka "ssl_certfile" "/run/secrets/latentwatch/kafka-client.crt" -}}
    {{- $_ := set $kafka "ssl_keyfile" "/run/secrets/latentwatch/kafka-client.key" -}}
  {{- end -}}
{{- end -}}
{{- $added := dict -}}
{{- if $kafka }}{{ $_ := set $added "kafka" $kafka }}{{ end -}}
{{- if .Values.otel.headersSecret.name -}}
  {{- $_ := set $added "sinks" (dict "otel" (dict "headers_file" "/run/secrets/latentwatch/otel-headers")) -}}
{{- end -}}
{{- if .Values.featureSetConfigMaps -}}
  {{- $sets := default dict $config.feature_sets -}}
  {{- $paths := default (list "builtin:smollm2-135m-instruct") $sets.paths -}}
  {{- range .Values.featureSetConfigMaps }}{{ $paths = append $paths (printf "/etc/latentwatch-feature-sets/%s" .) }}{{ end -}}
  {{- $_ := set $added "feature_sets" (dict "paths" $paths) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config $added) -}}
{{- end -}}

{{/* Changes with what needs a restart. feature_sets, alerts and log are left out: they are reloaded from the mounted folder. */}}
{{- define "latentwatch.checksum" -}}
{{- omit (include "latentwatch.config" . | fromYaml) "feature_sets" "alerts" "log" | toYaml | sha256sum -}}
{{- end -}}

{{/* The ports of the brokers, as a YAML list of numbers. */}}
{{- define "latentwatch.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (include "latentwatch.configKey" (list . "kafka" "bootstrap_servers" "")) -}}
  {{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.kafka.extraPorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "latentwatch.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}
