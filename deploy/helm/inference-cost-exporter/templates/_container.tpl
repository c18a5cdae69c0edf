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
  {{- merge dict (default dict .Values.startupProbe) (dict "periodSeconds" 2 "failureThreshold" 60) | toYaml | nindent 2 }}
livenessProbe:
  {{- $healthy | nindent 2 }}
  {{- merge dict (default dict .Values.livenessProbe) (dict "periodSeconds" 15 "timeoutSeconds" 5 "failureThreshold" 4) | toYaml | nindent 2 }}
# One tick has been taken, with or without NVML.
readinessProbe:
  {{- include "exporter.probe" (dict "Values" .Values "path" "/-/ready") | nindent 2 }}
  {{- merge dict (default dict .Values.readinessProbe) (dict "periodSeconds" 10 "timeoutSeconds" 5) | toYaml | nindent 2 }}
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
{{- if not .Values.demo.enabled }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* What a container may do here, under what the values say. Privileged: nothing less opens the device files, and
Kubernetes refuses one of the two without the other. */ -}}
{{- define "exporter.securityContext" -}}
{{- $privileged := and (not .Values.demo.enabled) (default false (include "exporter.platform" . | fromYaml).privileged) -}}
{{- $own := dict "privileged" $privileged "allowPrivilegeEscalation" $privileged "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- mergeOverwrite $own (deepCopy (default dict .Values.securityContext)) | toYaml -}}
{{- end -}}

{{- /* Of a pod that owns nothing: the demo and the check. OpenShift gives it a user of its namespace's own range. */ -}}
{{- define "exporter.nobody" -}}
runAsNonRoot: true
{{- if not (include "exporter.platform" . | fromYaml).openshift }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Of the DaemonSet's pod, under what the values say. */ -}}
{{- define "exporter.podSecurityContext" -}}
{{- $own := dict "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if .Values.access.root -}}
{{- $own = merge $own (dict "runAsUser" 0 "runAsGroup" 0) -}}
{{- else -}}
{{- $own = merge $own (dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532) -}}
{{- end -}}
{{- with (include "exporter.platform" . | fromYaml).seLinuxType -}}
{{- $_ := set $own "seLinuxOptions" (dict "type" .) -}}
{{- end -}}
{{- mergeOverwrite $own (deepCopy (default dict .Values.podSecurityContext)) | toYaml -}}
{{- end -}}
