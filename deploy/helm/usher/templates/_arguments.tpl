{{/* The arguments of the server, as a list in YAML. What has no value here has the default of the program. */}}
{{- define "usher.arguments" -}}
{{- $arguments := list }}
{{- with .Values.watchNamespace }}
{{- $arguments = append $arguments (printf "--watch-namespace=%s" .) }}
{{- end }}
{{- with .Values.authConfigLabelSelector }}
{{- $arguments = append $arguments (printf "--auth-config-label-selector=%s" .) }}
{{- end }}
{{- with .Values.secretLabelSelector }}
{{- $arguments = append $arguments (printf "--secret-label-selector=%s" .) }}
{{- end }}
{{- if .Values.allowSupersedingHostSubsets }}
{{- $arguments = append $arguments "--allow-superseding-host-subsets" }}
{{- end }}
{{- if .Values.allowRouteLookup }}
{{- $arguments = append $arguments "--allow-route-lookup" }}
{{- end }}
{{- with .Values.authorization }}
{{- $arguments = append $arguments (printf "--ext-auth-grpc-port=%d" (int .grpcPort)) }}
{{- $arguments = append $arguments (printf "--ext-auth-http-port=%d" (int .httpPort)) }}
{{- with .timeoutMilliseconds }}
{{- $arguments = append $arguments (printf "--timeout=%s" (include "usher.number" .)) }}
{{- end }}
{{- with .maxHttpRequestBodySize }}
{{- $arguments = append $arguments (printf "--max-http-request-body-size=%s" (include "usher.number" .)) }}
{{- end }}
{{- if .errorResponse }}
{{- $arguments = append $arguments "--error-response" }}
{{- end }}
{{- if .joinChallenges }}
{{- $arguments = append $arguments "--join-challenges" }}
{{- end }}
{{- if ne .onConditionError "undecidable" }}
{{- $arguments = append $arguments (printf "--on-condition-error=%s" .onConditionError) }}
{{- end }}
{{- $arguments = concat $arguments (include "usher.tlsArguments" (list .tls "" "tls" "authorization") | fromJsonArray) }}
{{- if and .tls.enabled .tls.clientCa.secretName }}
{{- $arguments = append $arguments (printf "--tls-client-ca=/etc/usher/client-ca/%s" .tls.clientCa.key) }}
{{- end }}
{{- end }}
{{- $arguments = append $arguments (printf "--oidc-http-port=%d" (int .Values.oidc.port)) }}
{{- $arguments = concat $arguments (include "usher.tlsArguments" (list .Values.oidc.tls "oidc-" "oidc-tls" "oidc") | fromJsonArray) }}
{{- with .Values.evaluatorCacheSize }}
{{- $arguments = append $arguments (printf "--evaluator-cache-size=%s" (include "usher.number" .)) }}
{{- end }}
{{- range .Values.upstreams.allow }}
{{- $arguments = append $arguments (printf "--allow-upstream=%s" .) }}
{{- end }}
{{- with .Values.upstreams.maxBody }}
{{- $arguments = append $arguments (printf "--max-upstream-body=%s" (include "usher.number" .)) }}
{{- end }}
{{- /* 0 is a value: as often as rules want. */}}
{{- if not (kindIs "invalid" .Values.kubeClient.qps) }}
{{- $arguments = append $arguments (printf "--kube-client-qps=%s" (include "usher.number" .Values.kubeClient.qps)) }}
{{- end }}
{{- with .Values.kubeClient.burst }}
{{- $arguments = append $arguments (printf "--kube-client-burst=%s" (include "usher.number" .)) }}
{{- end }}
{{- $arguments = append $arguments (printf "--metrics-addr=%s" (ternary (printf ":%d" (int .Values.metrics.port)) "0" (ne (int .Values.metrics.port) 0))) }}
{{- if .Values.metrics.deep }}
{{- $arguments = append $arguments "--deep-metrics-enabled" }}
{{- end }}
{{- $arguments = append $arguments (printf "--health-probe-addr=:%d" (int .Values.health.port)) }}
{{- if include "usher.several" . }}
{{- $arguments = append $arguments "--enable-leader-election" }}
{{- end }}
{{- if .Values.snapshot.enabled }}
{{- $arguments = append $arguments "--snapshot-dir=/var/lib/usher/snapshot" }}
{{- end }}
{{- $arguments = append $arguments (printf "--shutdown-grace=%d" (int .Values.shutdownGraceSeconds)) }}
{{- with .Values.tracing }}
{{- if .endpoint }}
{{- $arguments = append $arguments (printf "--tracing-service-endpoint=%s" .endpoint) }}
{{- if .insecure }}
{{- $arguments = append $arguments "--tracing-service-insecure" }}
{{- end }}
{{- range $name, $value := .tags }}
{{- $arguments = append $arguments (printf "--tracing-service-tag=%s=%s" $name $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- $arguments = append $arguments (printf "--log-level=%s" .Values.log.level) }}
{{- $arguments = append $arguments (printf "--log-mode=%s" .Values.log.mode) }}
{{- with .Values.log.redact }}
{{- range .addFields }}
{{- $arguments = append $arguments (printf "--log-redact-add-field=%s" .) }}
{{- end }}
{{- range .removeFields }}
{{- $arguments = append $arguments (printf "--log-redact-remove-field=%s" .) }}
{{- end }}
{{- range .addHeaders }}
{{- $arguments = append $arguments (printf "--log-redact-add-header=%s" .) }}
{{- end }}
{{- range .removeHeaders }}
{{- $arguments = append $arguments (printf "--log-redact-remove-header=%s" .) }}
{{- end }}
{{- end }}
{{- toYaml $arguments }}
{{- end }}

{{/* Arguments for TLS, as a list in JSON. Takes a list: the values, how the flags begin, the folder below `/etc/usher`, the
name of the values for messages. */}}
{{- define "usher.tlsArguments" -}}
{{- $tls := index . 0 }}
{{- $flag := printf "--%stls" (index . 1) }}
{{- $folder := printf "/etc/usher/%s" (index . 2) }}
{{- $arguments := list }}
{{- if $tls.enabled }}
{{- if not $tls.secretName }}
{{- fail (printf "`%s.tls.enabled` needs `%s.tls.secretName`" (index . 3) (index . 3)) }}
{{- end }}
{{- $arguments = append $arguments (printf "%s-cert=%s/tls.crt" $flag $folder) }}
{{- $arguments = append $arguments (printf "%s-cert-key=%s/tls.key" $flag $folder) }}
{{- with $tls.minVersion }}
{{- $arguments = append $arguments (printf "%s-min-version=%s" $flag .) }}
{{- end }}
{{- with $tls.maxVersion }}
{{- $arguments = append $arguments (printf "%s-max-version=%s" $flag .) }}
{{- end }}
{{- with $tls.cipherSuites }}
{{- $arguments = append $arguments (printf "%s-cipher-suites=%s" $flag (join "," .)) }}
{{- end }}
{{- end }}
{{- toJson $arguments }}
{{- end }}
