{{- define "latentwatch.review.selectorLabels" -}}
app.kubernetes.io/name: {{ include "latentwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: review
{{- end -}}

{{- define "latentwatch.review.labels" -}}
{{ include "latentwatch.review.selectorLabels" . }}
app.kubernetes.io/part-of: latentwatch
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{/* The arguments of `latentwatch review`, as a YAML list. */}}
{{- define "latentwatch.review.args" -}}
{{- $review := .Values.review -}}
{{- $args := list "review" "--config" "/etc/latentwatch/config.yaml" "--host" "0.0.0.0" "--port" "8002" -}}
{{- $args = concat $args (list "--group" $review.group "--keep-days" (toString $review.keepDays)) -}}
{{- if $review.databaseSecret.name -}}
  {{- $args = concat $args (list "--database-url-file" "/run/secrets/latentwatch-review/database-url") -}}
{{- else -}}
  {{- $args = concat $args (list "--database" "sqlite:////data/review.sqlite") -}}
{{- end -}}
{{- if $review.tokenSecret.name -}}
  {{- $args = concat $args (list "--token-file" "/run/secrets/latentwatch-review/reviewers") -}}
{{- end -}}
{{- with $review.proxy -}}
  {{- if .userHeader }}{{ $args = concat $args (list "--user-header" .userHeader) }}{{ end -}}
  {{- if .roleHeader }}{{ $args = concat $args (list "--role-header" .roleHeader) }}{{ end -}}
  {{- range .networks }}{{ $args = concat $args (list "--proxy" .) }}{{ end -}}
{{- end -}}
{{- if $review.readAgain }}{{ $args = append $args "--read-again" }}{{ end -}}
{{- if $review.traceUrl }}{{ $args = concat $args (list "--trace-url" $review.traceUrl) }}{{ end -}}
{{- if $review.recordUrl }}{{ $args = concat $args (list "--record-url" $review.recordUrl) }}{{ end -}}
{{- toYaml $args -}}
{{- end -}}

{{/* Changes with what the page reads at its start. It has no use for the other sections. */}}
{{- define "latentwatch.review.checksum" -}}
{{- pick (include "latentwatch.config" . | fromYaml) "kafka" "source" "events" "sinks" "feature_sets" "log" | toYaml | sha256sum -}}
{{- end -}}

{{/* The Secrets of the review page alone, as sources of one projected volume. */}}
{{- define "latentwatch.review.secretSources" -}}
{{- range $path, $secret := dict "database-url" .Values.review.databaseSecret "reviewers" .Values.review.tokenSecret -}}
{{- if $secret.name }}
- secret:
    name: {{ $secret.name }}
    items:
      - key: {{ $secret.key }}
        path: {{ $path }}
{{- end -}}
{{- end -}}
{{- end -}}
