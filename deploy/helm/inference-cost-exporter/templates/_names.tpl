{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "exporter.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "exporter.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "exporter.configMap" -}}
{{- default (include "exporter.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{- /* Immutable labels, as a DaemonSet's selector. A demo has another name, so that it is not mistaken for a real host. */ -}}
{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ if .Values.demo.enabled }}{{ include "exporter.name" . | trunc 58 | trimSuffix "-" }}-demo{{ else }}{{ include "exporter.name" . }}{{ end }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "exporter.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository -}}
{{- fail (printf "image.repository: no registry publishes the image; build it, push it where your nodes can pull it, and name it: --set image.repository=registry.example/inference-cost-exporter (tag %s unless image.tag says another)" .Chart.AppVersion) -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Whether a token is needed: "true" or nothing. */ -}}
{{- define "exporter.token" -}}
{{- if or (has .Values.access.podLookup (list "kubelet" "apiServer")) .Values.access.nodeLabels -}}true{{- end -}}
{{- end -}}

{{- /* The one file of the ConfigMap. */ -}}
{{- define "exporter.config" -}}
config.yaml: |
  {{- if kindIs "string" .Values.config }}
  {{- .Values.config | trim | nindent 2 }}
  {{- else if .Values.config }}
  {{- toYaml .Values.config | nindent 2 }}
  {{- else }}
  # Everything has its default: what is there is found, and prices are estimates, marked as such.
  {{- end }}
{{- end -}}
