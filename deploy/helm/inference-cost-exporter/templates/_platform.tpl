{{- /* What is known of each platform. Several node terms are alternatives. */ -}}
{{- define "exporter.platforms" -}}
gpu-operator: &gpu-operator
  runtimeClassName: nvidia
  # Operator 26.7 and later set deploy.client; 25.3 to 26.3 do not. Before a driver upgrade the operator pauses its
  # labels, and a DaemonSet's pod leaves a node that it matches no more: the driver is then free to be unloaded.
  nodes:
    - - {key: nvidia.com/gpu.deploy.client, operator: In, values: ["true"]}
    - - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
      - {key: nvidia.com/gpu.deploy.client, operator: DoesNotExist}
      - {key: nvidia.com/gpu.deploy.operator-validator, operator: NotIn, values: [paused-for-driver-upgrade]}
      - {key: nvidia.com/gpu.workload.config, operator: NotIn, values: [vm-passthrough, vm-vgpu]}
# gpu-operator, where a pod needs SecurityContextConstraints, and SELinux keeps container_t from the host's processes, the
# kubelet's socket and the ledger's folder.
openshift:
  <<: *gpu-operator
  openshift: true
  seLinuxType: spc_t
generic:
  nodes:
    - - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
    - - {key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"]}
# Exactly where NVIDIA's device plugin and its DRA driver place themselves.
device-plugin:
  nodes:
    - - {key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"]}
    - - {key: feature.node.kubernetes.io/cpu-model.vendor_id, operator: In, values: [NVIDIA]}
    - - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
gke:
  privileged: true
  quota: true
  driver: /home/kubernetes/bin/nvidia
  nodes:
    - - {key: cloud.google.com/gke-accelerator, operator: Exists}
eks:
  nodes:
    - - {key: nvidia.com/gpu.present, operator: In, values: ["true"]}
    - - {key: feature.node.kubernetes.io/pci-10de.present, operator: In, values: ["true"]}
    - - {key: k8s.amazonaws.com/accelerator, operator: Exists}
    - - {key: eks.amazonaws.com/instance-gpu-manufacturer, operator: In, values: [nvidia]}
    - - {key: karpenter.k8s.aws/instance-gpu-manufacturer, operator: In, values: [nvidia]}
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
{{- else }}
{{- if has .Values.platform (list "gpu-operator" "openshift") }}
# A pod that holds NVML open blocks an upgrade of the driver. These terms let gpu-operator evict it before, on releases
# with the label deploy.client and on those without. Without gpu-operator select your GPU nodes by a label of your own.
{{- end }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      # Each term alone is enough.
      nodeSelectorTerms:
        {{- range $platform.nodes }}
        - matchExpressions:
            {{- toYaml . | nindent 12 }}
        {{- end }}
{{- end }}
{{- end -}}


{{- /* Taints of GPU nodes: NVIDIA's key (gpu-operator, GKE, OKE, DOKS, Karpenter), what Azure's pages taint GPU pools
with, and the spot nodes of both clouds. None tolerates every taint: a node that is emptied is not to get the pod again. */ -}}
{{- define "exporter.tolerations" -}}
tolerations:
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  - {key: sku, operator: Equal, value: gpu, effect: NoSchedule}
  - {key: kubernetes.azure.com/scalesetpriority, operator: Equal, value: spot, effect: NoSchedule}
  - {key: cloud.google.com/gke-spot, operator: Equal, value: "true", effect: NoSchedule}
  {{- with .Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "exporter.priorityClass" -}}
{{- ternary "system-node-critical" .Values.priorityClassName (kindIs "invalid" .Values.priorityClassName) -}}
{{- end -}}
