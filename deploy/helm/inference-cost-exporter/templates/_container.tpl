{{- /* Alive is the process's answer, ready is one tick; neither is a matter of NVML. */ -}}
{{- define "exporter.probe" -}}
{{- if eq .Values.web.probes "tcp" -}}
tcpSocket:
  port: metrics
{{- else -}}
httpGet:
  path: {{ .path }}
  port: metrics
  {{- if eq .Values.web.scheme "https" }}
  scheme: HTTPS
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "exporter.probes" -}}
{{- $healthy := include "exporter.probe" (dict "Values" .Values "path" "/-/healthy") -}}
# The process answers, whatever NVML does: a driver that is upgraded restarts nothing here.
# The start may wait 30 seconds for the ledger that the previous pod still holds.
startupProbe:
  {{- $healthy | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  {{- $healthy | nindent 2 }}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
# One tick has been taken, with or without NVML.
readinessProbe:
  {{- include "exporter.probe" (dict "Values" .Values "path" "/-/ready") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end -}}

{{- define "exporter.arguments" -}}
{{- if .Values.demo.enabled }}
- demo
{{- else }}
- --config.file=/etc/inference-cost-exporter/config.yaml
- --config.watch
- --ledger.path=/var/lib/inference-cost-exporter/ledger.db
{{- end }}
{{- if or .Values.demo.enabled (ne (int .Values.web.port) 9844) }}
- --web.listen-address=:{{ .Values.web.port }}
{{- end }}
{{- if and .Values.web.configSecret (not .Values.demo.enabled) }}
- --web.config.file=/etc/inference-cost-exporter-web/{{ .Values.web.configKey }}
{{- end }}
{{- if not .Values.demo.enabled }}
{{- if eq (toString .Values.web.enableLifecycle) "true" }}
- --web.enable-lifecycle
{{- else if eq (toString .Values.web.enableLifecycle) "false" }}
- --no-web.enable-lifecycle
{{- end }}
{{- end }}
{{- range .Values.web.allowedHosts }}
- --web.allowed-host={{ . }}
{{- end }}
{{- if ne .Values.log.level "info" }}
- --log.level={{ .Values.log.level }}
{{- end }}
{{- if ne .Values.log.format "logfmt" }}
- --log.format={{ .Values.log.format }}
{{- end }}
{{- end -}}
