{{/*
What another chart's pod template includes, with the scope of this chart: `.Subcharts.latentwatch` in a chart that depends on it.
deploy/helm/examples/llm-server shows all of them in place.
*/}}

{{/* Items of spec.initContainers: the native sidecar, or nothing. */}}
{{- define "latentwatch.sidecar.initContainers" -}}
{{- if .Values.sidecar.native -}}
- {{ include "latentwatch.container" (dict "root" . "kind" "native") | indent 2 | trim }}
{{- end -}}
{{- end -}}

{{/* Items of spec.containers: nothing, or the plain container. */}}
{{- define "latentwatch.sidecar.containers" -}}
{{- if not .Values.sidecar.native -}}
- {{ include "latentwatch.container" (dict "root" . "kind" "container") | indent 2 | trim }}
{{- end -}}
{{- end -}}

{{/* Items of spec.volumes. */}}
{{- define "latentwatch.sidecar.volumes" -}}
{{- include "latentwatch.volumes" . -}}
{{- end -}}

{{/* Labels of the pod, by which the NetworkPolicy and the PodMonitor find it. */}}
{{- define "latentwatch.sidecar.labels" -}}
{{- include "latentwatch.selectorLabels" . -}}
{{- end -}}

{{/* Annotations of the pod: it is replaced when a section changes that is read only at the start. */}}
{{- define "latentwatch.sidecar.annotations" -}}
latentwatch/config-checksum: {{ include "latentwatch.checksum" . }}
{{- end -}}

{{/* The pod's security context, for a pod that has none of its own. */}}
{{- define "latentwatch.sidecar.podSecurityContext" -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}
