{{- define "usher.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names leave room for what comes after: `-authorization` is the longest. */}}
{{- define "usher.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 49 | trimSuffix "-" }}
{{- else if contains (include "usher.name" .) .Release.Name }}
{{- .Release.Name | trunc 49 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "usher.name" .) | trunc 49 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of an object without a namespace: another release may have the same name elsewhere. */}}
{{- define "usher.clusterName" -}}
{{- printf "%s.%s" .Release.Namespace (include "usher.fullname" .) }}
{{- end }}

{{- define "usher.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "usher.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "`serviceAccount.name` must name the ServiceAccount that exists, because `serviceAccount.create` is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "usher.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* By these the pods of a component are found; they never change. Takes a list: the context, the component. */}}
{{- define "usher.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "usher.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "usher.labels" -}}
{{- $context := index . 0 -}}
{{- $labels := include "usher.selectorLabels" . | fromYaml }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $labels "app.kubernetes.io/part-of" "usher" }}
{{- $_ := set $labels "app.kubernetes.io/version" $context.Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $context.Release.Service }}
{{- merge $labels $context.Values.commonLabels | toYaml }}
{{- end }}

{{/* Whether there can be more than one pod; empty: no. */}}
{{- define "usher.several" -}}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.maxReplicas) 1 }}yes{{ end }}
{{- else if gt (int .Values.replicaCount) 1 }}yes{{ end }}
{{- end }}

{{/* Whether a kind of the Prometheus operator is wanted and possible; empty: no. Takes a list: the context, its values. */}}
{{- define "usher.monitored" -}}
{{- $context := index . 0 }}
{{- $values := index . 1 }}
{{- if and $values.enabled (or $values.force ($context.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}yes{{ end }}
{{- end }}

{{/* The pages of metrics, as endpoints of a ServiceMonitor or PodMonitor. Takes a list: its values, the name of the port. */}}
{{- define "usher.endpoints" -}}
{{- $values := index . 0 }}
{{- $port := index . 1 }}
{{- range $path := list "/metrics" "/server-metrics" }}
- port: {{ $port }}
  path: {{ $path }}
  interval: {{ $values.interval }}
  scrapeTimeout: {{ $values.scrapeTimeout }}
  honorLabels: {{ $values.honorLabels }}
  # Both pages have series of the process, and each page is a target of its own.
  relabelings:
    - sourceLabels: [__metrics_path__]
      targetLabel: metrics_path
  {{- with $values.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "usher.webhookSecretName" -}}
{{- if .Values.webhook.secretName }}
{{- .Values.webhook.secretName }}
{{- else if .Values.webhook.certManager.enabled }}
{{- printf "%s-webhook-tls" (include "usher.fullname" .) }}
{{- else }}
{{- fail "`webhook.enabled` needs a certificate: `webhook.secretName` with `webhook.caBundle`, or `webhook.certManager.enabled`" }}
{{- end }}
{{- end }}

{{/* What a value of a numeric setting is as text. Numbers of values are floating: without this, a million is `1e+06`. */}}
{{- define "usher.number" -}}
{{- if eq (float64 .) (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
