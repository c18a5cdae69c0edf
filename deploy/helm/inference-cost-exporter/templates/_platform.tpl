{{- /* What is known of each platform. Several node terms are alternatives. */ -}}
{{- define "exporter.platforms" -}}
gpu-operator:
  runtimeClassName: nvidia
  nodeSelector:
    nvidia.com/gpu.deploy.client: "true"
generic:
  nodes:
    - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
    - {key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"]}
gke:
  privileged: true
  driver: /home/kubernetes/bin/nvidia
  nodes:
    - {key: cloud.google.com/gke-accelerator, operator: Exists}
eks:
  nodes:
    - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
    - {key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"]}
    - {key: k8s.amazonaws.com/accelerator, operator: Exists}
    - {key: eks.amazonaws.com/instance-gpu-manufacturer, operator: In, values: [nvidia]}
    - {key: karpenter.k8s.aws/instance-gpu-manufacturer, operator: In, values: [nvidia]}
{{- end -}}

{{- define "exporter.platform" -}}
{{- get (include "exporter.platforms" . | fromYaml) .Values.platform | toYaml -}}
{{- end -}}

{{- /* Which nodes: what the values say, else the platform. */ -}}
{{- define "exporter.nodes" -}}
{{- $platform := include "exporter.platform" . | fromYaml -}}
{{- if or .Values.nodeSelector .Values.affinity -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else if $platform.nodeSelector }}
# gpu-operator evicts pods with this selector before it upgrades the driver; any other pod that holds
# NVML open blocks the upgrade. Without gpu-operator select your GPU nodes by a label of your own.
nodeSelector:
  {{- toYaml $platform.nodeSelector | nindent 2 }}
{{- else }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      # Each term alone is enough.
      nodeSelectorTerms:
        {{- range $platform.nodes }}
        - matchExpressions:
            - {{ toYaml . | nindent 14 | trim }}
        {{- end }}
{{- end }}
{{- end -}}
