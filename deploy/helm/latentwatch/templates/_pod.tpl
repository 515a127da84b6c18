{{/* The container, without the dash of its list. (dict "root" . "kind" "native" | "container" | "job") */}}
{{- define "latentwatch.container" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $job := eq .kind "job" -}}
name: latentwatch
image: {{ include "latentwatch.image" $root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if eq .kind "native" }}
restartPolicy: Always # what makes it a sidecar: starts before the server, stops after it
{{- end }}
{{- if $job }}
args: ["scan", {{ $values.job.input | quote }}, "-c", "/etc/latentwatch/config.yaml", "--out", {{ $values.job.output | quote }}, "--bad", {{ $values.job.bad | quote }}]
{{- else }}
args: ["run", "-c", "/etc/latentwatch/config.yaml"]
{{- end }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.container.name=latentwatch
  {{- if not $job }}
  - name: LATENTWATCH__KAFKA__CLIENT_ID
    value: latentwatch-$(POD_NAME)
  {{- end }}
  {{- if and (eq $values.mode "standalone") (eq $values.workload "StatefulSet") }}
  - name: LATENTWATCH__KAFKA__OPTIONS__GROUP_INSTANCE_ID # static membership
    value: $(POD_NAME)
  {{- end }}
  {{- if and (eq $values.mode "sidecar") (eq $values.sidecar.events "podTopic") }}
  - name: LATENTWATCH__SOURCE__TOPIC
    value: {{ include "latentwatch.configKey" (list $root "source" "topic" "llm.events") }}.$(POD_NAME)
  - name: LATENTWATCH__SOURCE__GROUP_ID
    value: {{ include "latentwatch.configKey" (list $root "source" "group_id" "latentwatch") }}-$(POD_NAME)
  {{- end }}
  {{- with include "latentwatch.usernameEnv" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if not $job }}
ports:
  - name: lw-metrics # /livez, /readyz, /metrics
    containerPort: {{ include "latentwatch.healthPort" $root }}
    protocol: TCP
{{- if eq $values.mode "sidecar" }}
# Monitoring must fail open: the server has to come up and take traffic whatever latentwatch does.
#
# No startupProbe. The kubelet starts the server only after the sidecar counts as started. Without a startup probe that is
# as soon as its process runs. With one it would be after the probe's first success, and every failure would keep the
# server down, however generous the threshold.
{{- if not $values.sidecar.readiness }}
# No readinessProbe. A sidecar's readiness is part of the pod's: a broker that is down would take the server out of its
# Service. /readyz is there for people and alert rules.
{{- end }}
#
# What cannot fail open in one pod: an image that cannot be pulled, and a process that exits at once and again (a refused
# config) make the pod unready. A rolling update then stops at the first new pod, and the old ones go on serving.
{{- end }}
{{- if or (ne $values.mode "sidecar") $values.sidecar.readiness }}
readinessProbe:
  httpGet:
    path: /readyz
    port: lw-metrics
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
# Restarts only this container. /livez asks whether the process loads or its loop makes progress, not whether the broker
# answers. Loading may take as long as it takes, so the delay only has to cover the seconds until the port is open.
livenessProbe:
  httpGet:
    path: /livez
    port: lw-metrics
  initialDelaySeconds: 30
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  - name: latentwatch-config
    mountPath: /etc/latentwatch # the folder, no subPath: a subPath mount never sees an update
    readOnly: true
  {{- range $values.featureSetConfigMaps }}
  - name: latentwatch-sets-{{ . }}
    mountPath: /etc/latentwatch-feature-sets/{{ . }}
    readOnly: true
  {{- end }}
  {{- if include "latentwatch.secretSources" $root }}
  - name: latentwatch-secrets
    mountPath: /run/secrets/latentwatch
    readOnly: true
  {{- end }}
  - name: latentwatch-tmp
    mountPath: /tmp
  {{- if $job }}
  - name: latentwatch-data
    mountPath: /data
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The variable of the user name, if it is in a Secret. */}}
{{- define "latentwatch.usernameEnv" -}}
{{- with .Values.kafka.passwordSecret -}}
{{- if .usernameKey -}}
- name: LATENTWATCH__KAFKA__SASL_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .usernameKey }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Existing Secrets and ConfigMaps, as sources of one projected volume. Only the keys that are used are mounted. */}}
{{- define "latentwatch.secretSources" -}}
{{- $kafka := .Values.kafka -}}
{{- $otel := .Values.otel.headersSecret -}}
{{- $sources := list -}}
{{- if $kafka.passwordSecret.name -}}
  {{- $sources = append $sources (list "secret" $kafka.passwordSecret.name (list (dict "key" $kafka.passwordSecret.key "path" "kafka-password"))) -}}
{{- end -}}
{{- if $kafka.oauthClientSecret.name -}}
  {{- $sources = append $sources (list "secret" $kafka.oauthClientSecret.name (list (dict "key" $kafka.oauthClientSecret.key "path" "kafka-oauth-client-secret"))) -}}
{{- end -}}
{{- if $kafka.caSecret.name -}}
  {{- $sources = append $sources (list "secret" $kafka.caSecret.name (list (dict "key" $kafka.caSecret.key "path" "kafka-ca.crt"))) -}}
{{- end -}}
{{- if $kafka.caConfigMap.name -}}
  {{- $sources = append $sources (list "configMap" $kafka.caConfigMap.name (list (dict "key" $kafka.caConfigMap.key "path" "kafka-ca.crt"))) -}}
{{- end -}}
{{- with $kafka.clientCertificateSecret -}}
{{- if .name -}}
  {{- $sources = append $sources (list "secret" .name (list (dict "key" .certKey "path" "kafka-client.crt") (dict "key" .keyKey "path" "kafka-client.key"))) -}}
{{- end -}}
{{- end -}}
{{- if $otel.name -}}
  {{- $sources = append $sources (list "secret" $otel.name (list (dict "key" $otel.key "path" "otel-headers"))) -}}
{{- end -}}
{{- range $sources }}
- {{ index . 0 }}:
    name: {{ index . 1 }}
    items:
      {{- toYaml (index . 2) | nindent 6 }}
{{- end -}}
{{- end -}}

{{/* All volumes of a pod that reads events. */}}
{{- define "latentwatch.volumes" -}}
{{ include "latentwatch.ownVolumes" . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Those that do not come from extraVolumes. The review page has them, too. */}}
{{- define "latentwatch.ownVolumes" -}}
- name: latentwatch-config
  configMap:
    name: {{ include "latentwatch.fullname" . }}
{{- range .Values.featureSetConfigMaps }}
- name: latentwatch-sets-{{ . }}
  configMap:
    name: {{ . }}
{{- end }}
{{- with include "latentwatch.secretSources" . }}
- name: latentwatch-secrets
  projected:
    defaultMode: 0440 # readable through fsGroup
    sources:
      {{- . | trim | nindent 6 }}
{{- end }}
- name: latentwatch-tmp
  emptyDir:
    sizeLimit: {{ .Values.tmpSizeLimit }}
{{- if eq .Values.mode "job" }}
- name: latentwatch-data
  {{- toYaml .Values.job.volume | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pod template of the modes standalone and job, from its metadata on. */}}
{{- define "latentwatch.podTemplate" -}}
{{- $job := eq .Values.mode "job" -}}
metadata:
  labels:
    {{- include "latentwatch.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The sections that are read only at the start: when they change, the pods are replaced.
    latentwatch/config-checksum: {{ include "latentwatch.checksum" . }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "latentwatch.serviceAccountName" . }}
  automountServiceAccountToken: false
  {{- if $job }}
  restartPolicy: Never
  {{- end }}
  # At SIGTERM, latentwatch finishes its batch and commits. Should SIGKILL come first, the batch is read again elsewhere.
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not $job }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "latentwatch.selectorLabels" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "latentwatch.container" (dict "root" . "kind" (ternary "job" "container" $job)) | indent 6 | trim }}
  volumes:
    {{- include "latentwatch.volumes" . | nindent 4 }}
{{- end -}}
