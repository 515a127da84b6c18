{{- define "latentwatch.name" -}}
{{- default "latentwatch" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all objects: the release's, with the chart's unless it says so itself. 52 characters leave room for suffixes. */}}
{{- define "latentwatch.fullname" -}}
{{- $name := include "latentwatch.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What a selector matches, and what therefore never changes. In sidecar mode, the label that the pods get. */}}
{{- define "latentwatch.selectorLabels" -}}
{{- if eq .Values.mode "sidecar" -}}
latentwatch-sidecar: {{ include "latentwatch.fullname" . }}
{{- else -}}
app.kubernetes.io/name: {{ include "latentwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}
{{- end -}}

{{- define "latentwatch.labels" -}}
app.kubernetes.io/name: {{ include "latentwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/part-of: latentwatch
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "latentwatch.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "latentwatch.serviceAccountName" -}}
{{- default (ternary (include "latentwatch.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}
