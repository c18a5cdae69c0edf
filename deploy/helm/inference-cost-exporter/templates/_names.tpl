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
{{- include "exporter.labelsWith" (list . dict) -}}
{{- end -}}

{{- /* The root context, and labels of one object, which go before those of all. */ -}}
{{- define "exporter.labelsWith" -}}
{{- $root := index . 0 -}}
{{ include "exporter.selector" $root }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with merge dict (index . 1) (default dict $root.Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The same of a pod, without what would restart it with every release of the chart. */ -}}
{{- define "exporter.podLabels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with merge dict .Values.podLabels (default dict .Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The root context, and annotations of one object, which go before those of all. */ -}}
{{- define "exporter.annotations" -}}
{{- with merge dict (index . 1) (default dict (index . 0).Values.commonAnnotations) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* A registry of the values, that of all charts first, takes the place of the one in the repository. */ -}}
{{- define "exporter.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository -}}
{{- fail (printf "image.repository: build the image and push it where your nodes can pull it (tools/docker-image registry.example/inference-cost-exporter), then name it: --set image.repository=registry.example/inference-cost-exporter (tag %s unless image.tag says another)" .Chart.AppVersion) -}}
{{- end -}}
{{- $repository := $image.repository -}}
{{- with default $image.registry (.Values.global).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Names of Secrets: the chart's, and those of all charts, which may be written as in a pod. */ -}}
{{- define "exporter.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (default list (.Values.global).imagePullSecrets) .Values.image.pullSecrets -}}
{{- $names = append $names (ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .)) -}}
{{- end -}}
{{- with uniq $names -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* Whether a token is needed: "true" or nothing. */ -}}
{{- define "exporter.token" -}}
{{- if or (has .Values.access.podLookup (list "kubelet" "apiServer")) .Values.access.nodeLabels -}}true{{- end -}}
{{- end -}}

{{- /* Whether one is mounted: what the values say, else whether it is needed. */ -}}
{{- define "exporter.mountedToken" -}}
{{- if kindIs "invalid" .Values.automountServiceAccountToken -}}
{{- include "exporter.token" . | eq "true" -}}
{{- else -}}
{{- .Values.automountServiceAccountToken -}}
{{- end -}}
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
